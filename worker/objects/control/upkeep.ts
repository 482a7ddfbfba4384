/** What time asks of the Control object, and its one alarm, set for whatever comes next. */
import type { ApprovalDesk } from "./approval-desk.ts";
import type { Identity } from "./identity.ts";
import type { Outbox } from "./outbox.ts";
import type { SessionDirectory } from "./session-directory.ts";
import type { TaskDesk } from "./task-desk.ts";

/** How often sessions that the index believes alive are asked whether they are; asking wakes them. */
const RECONCILE_MS = 15 * 60_000;

export type UpkeepHost = {
  readonly storage: DurableObjectStorage;
  readonly approvals: ApprovalDesk;
  readonly outbox: Outbox;
  readonly identity: Identity;
  readonly tasks: TaskDesk;
  readonly sessions: SessionDirectory;
};

export class Upkeep {
  readonly #host: UpkeepHost;

  constructor(host: UpkeepHost) {
    this.#host = host;
  }

  /** The alarm went off. */
  async run(now: number): Promise<void> {
    const { approvals, outbox, identity, tasks, sessions } = this.#host;
    await approvals.pass(now);
    await outbox.deliver(now);
    for (const task of identity.tasks.expired(now)) {
      await tasks.remove(task.id, "its deadline has passed", undefined);
    }
    if (identity.rotationDue() <= now) await identity.rotateKeys(undefined, now);
    await sessions.reconcile();
    await this.schedule();
  }

  /** Sets the alarm, unless it goes off early enough. Call it after whatever brings a new time. */
  async schedule(): Promise<void> {
    const { storage, approvals, outbox, identity, sessions } = this.#host;
    const now = Date.now();
    const at = Math.min(
      approvals.next(now),
      outbox.next(),
      sessions.anyLive ? now + RECONCILE_MS : Number.POSITIVE_INFINITY,
      identity.tasks.nextDeadline() ?? Number.POSITIVE_INFINITY,
      identity.rotationDue(),
    );
    const set = await storage.getAlarm();
    if (at !== Number.POSITIVE_INFINITY && (set === null || set > at)) await storage.setAlarm(at);
  }
}

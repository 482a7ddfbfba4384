/**
 * The phases of a session and its turns.
 *
 *   new ── a client, a request or a question has come ──► connecting ── `start` ──► started ──► ended
 *            started ends with either side, kill, revocation, expiry; connecting also when it takes too long
 *
 * Every turn: the driver works, the recording is written, then what was queued is sent. What a turn does after
 * a bug or a recording that cannot be written is never sent: such a session ends at once.
 */
import { LIMITS } from "../../../wire/limits.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import type { Meta } from "../meta.ts";
import type { ClientLink } from "./client-link.ts";
import { type ConnectorLink, LOST } from "./connector-link.ts";
import type { SessionDriver } from "./driver.ts";
import type { Hibernation } from "./hibernation.ts";
import type { Journal } from "./journal.ts";
import type { Standing } from "./standing.ts";

export type Phase = "new" | "connecting" | "started" | "ended";

export type LifecycleHost = {
  readonly ctx: DurableObjectState;
  readonly meta: Meta;
  readonly client: ClientLink;
  readonly link: ConnectorLink;
  readonly journal: Journal;
  readonly standing: Standing;
  readonly hibernation: Hibernation;
  readonly driver: () => SessionDriver | undefined;
  /** Turns come by the hundred, one for each step of a request: they may share one write. */
  readonly manyTurns: () => boolean;
};

export class Lifecycle {
  readonly #host: LifecycleHost;
  #phase: Phase = "new";
  #startupTimer: ReturnType<typeof setTimeout> | undefined;
  #depth = 0;
  #settling: ReturnType<typeof setTimeout> | undefined;

  constructor(host: LifecycleHost) {
    this.#host = host;
  }

  get phase(): Phase {
    return this.#phase;
  }

  connecting(): void {
    this.#phase = "connecting";
  }

  /** Ends the session should it not have started in time. */
  limitStartup(): void {
    const why = refusal("protocol_violation", "the connection's startup took too long");
    this.#startupTimer = setTimeout(() => this.turn(() => this.terminate(why)), LIMITS.time.startup);
  }

  started(): void {
    clearTimeout(this.#startupTimer);
    this.#phase = "started";
  }

  /** As storage or a restart says it is; nobody is told. */
  restore(phase: "started" | "ended"): void {
    this.#phase = phase;
  }

  /** Ends the session with this refusal, in its protocol's own way where it has got that far. */
  terminate(why: Refusal): void {
    if (this.#phase === "ended") return;
    const driver = this.#host.driver();
    if (driver === undefined) this.end(why);
    else driver.terminate(why);
  }

  turn(work: () => void): void {
    this.#depth++;
    try {
      work();
    } catch (error) {
      // A bug must not let anything through: nothing queued is sent, the session ends.
      console.error(`session failed: ${error instanceof Error ? (error.stack ?? error.message) : "unknown"}`);
      this.#abort(refusal("internal", "the gateway failed and has ended the session; it has been logged"));
    } finally {
      this.#depth--;
    }
    if (this.#depth > 0) return;
    if (!this.#host.manyTurns() || this.#phase !== "started") this.#settle();
    else this.#settling ??= setTimeout(() => this.#settle(), 0);
  }

  end(why: Refusal | undefined): void {
    if (this.#phase === "ended") return;
    const started = this.#phase === "started";
    this.#phase = "ended";
    clearTimeout(this.#startupTimer);
    this.#host.link.stopDialing(why ?? LOST);
    this.#host.link.forgetChannels();
    const reason = why?.code ?? "done";
    if (started) {
      this.#host.journal.record({
        type: "end",
        reason,
        ...(why === undefined ? {} : { message: why.message }),
        counts: this.#host.journal.counts,
      });
      this.#host.meta.set("ended", reason);
      this.#host.journal.tellEnd(reason);
      this.#host.ctx.waitUntil(this.#host.ctx.storage.deleteAlarm());
    }
    if (why !== undefined) this.#host.client.notify({ type: "ended", code: why.code, message: why.message });
    this.#host.client.end();
  }

  /** It has answered the one question that it was for. */
  close(): void {
    this.#phase = "ended";
    this.#closeSockets();
  }

  /**
   * Writes the recording, then sends what waits, then gives credit back. Many requests at once share one write:
   * what they queue waits for it together.
   */
  #settle(): void {
    clearTimeout(this.#settling);
    this.#settling = undefined;
    try {
      this.#host.hibernation.disturb();
      this.#host.journal.flush();
    } catch (error) {
      console.error(`recording failed: ${error instanceof Error ? error.message : "unknown"}`);
      this.#abort(refusal("cannot_record", "the recording cannot be written, so the session has ended"));
      return;
    }
    this.#host.journal.tell();
    const owing = this.#flush();
    if (this.#phase === "ended") {
      if (!owing) this.#closeSockets();
      return;
    }
    this.#host.driver()?.pump();
    this.#flush();
    this.#host.hibernation.rest();
  }

  /** Sends what may go. True while rows wait for the budget of a task: until then the client gets nothing. */
  #flush(): boolean {
    this.#host.link.flush();
    const owing = this.#host.standing.owing((paid) => {
      if (!paid.ok) this.#cut(paid.error);
      this.turn(() => undefined);
    });
    if (!owing) this.#host.client.flush();
    return owing;
  }

  /** What is queued for the client must not leave: it goes, with the session, whose end is recorded. */
  #cut(why: Refusal): void {
    this.#host.client.discard();
    this.turn(() => {
      this.terminate(why);
      // The rest of a message would follow half of one.
      this.#host.client.discard();
      this.#host.client.notify({ type: "ended", code: why.code, message: why.message });
      this.#host.client.end();
    });
  }

  /** Ends the session without sending anything that is queued. */
  #abort(why: Refusal): void {
    this.#host.client.discard();
    this.#host.link.discard();
    const started = this.#phase === "started";
    this.#phase = "ended";
    this.#host.link.stopDialing(why);
    this.#host.client.notify({ type: "ended", code: why.code, message: why.message });
    this.#host.client.flush();
    this.#closeSockets();
    if (!started) return;
    try {
      this.#host.journal.flush();
    } catch {
      // Said already; the index still learns of the end.
    }
    this.#host.journal.tellEnd(why.code);
  }

  #closeSockets(): void {
    this.#host.link.closeSocket();
    this.#host.client.closeSocket();
  }
}

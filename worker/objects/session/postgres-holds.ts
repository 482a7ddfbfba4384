/**
 * Holding one operation of a PostgreSQL session in place (DESIGN section 6): the machine has parked it, the
 * client waits and is told why, and it goes on when the Control object says how reviewers decided.
 *
 *   hold ──► granted: an approval was there ──────────────► pass
 *     │────► refused: the client does not wait ───────────► refuse
 *     └────► waiting ─► approved ─► judged anew ──────────► pass, or refuse if policy has changed
 *                    ├► denied, expired ──────────────────► refuse
 *                    └► Ctrl-C, client gone, session over ► withdrawn
 */
import { LIMITS } from "../../../wire/limits.ts";
import type { Ask } from "../../../wire/postgres/machine-types.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import type { Result } from "../../../wire/result.ts";
import type { Decision, HoldRequirement } from "../../policy/types.ts";
import type { ApprovalOutcome } from "../control/types.ts";
import type { SessionHost } from "./driver.ts";
import { changedSince, heldMessages, outcomeRefusal, remind } from "./holding.ts";
import { estimateRows } from "./postgres-estimate.ts";
import { heldOperation, holdEvent, textValues } from "./postgres-events.ts";
import type { Judged } from "./postgres-statements.ts";

const CANCELED_BY_CLIENT = "canceled by the client";
/** In PostgreSQL's words (ERRCODE_QUERY_CANCELED), as its clients know them. */
export const CANCELED = refusal("approval_withdrawn", "canceling statement due to user request");

/** What the driver does on behalf of a held operation. */
export type HoldActions = {
  readonly ended: () => boolean;
  /** Is a transaction open, whose locks a long hold would keep? */
  readonly inTransaction: () => boolean;
  readonly notice: (message: string, hint?: string) => void;
  readonly pass: (ask: Ask, judged: Judged, approval: string) => void;
  readonly refuse: (ask: Ask, why: Refusal, judged?: Judged) => void;
  /** Whether the client has asked to cancel while it was being decided; `pass` refuses by itself then. */
  readonly canceled: (ask: Ask) => boolean;
  /** The text that the server would run, and the startup parameters of the server's session. */
  readonly planned: (
    ask: Ask,
    judged: Judged,
  ) => { readonly sql: string; readonly parameters: Readonly<Record<string, string>> };
  /** Decides the operation by policy and masks as they are now. */
  readonly judgeAnew: (ask: Ask) => Promise<Result<Judged, Refusal>>;
};

type Waiting = {
  readonly ask: Ask;
  readonly approval: string;
  readonly requirements: readonly HoldRequirement[];
  /** Milliseconds since the epoch. */
  readonly since: number;
  readonly reminder: ReturnType<typeof setInterval>;
};

export class PostgresHolds {
  readonly #host: SessionHost;
  readonly #actions: HoldActions;
  #waiting: Waiting | undefined;

  constructor(host: SessionHost, actions: HoldActions) {
    this.#host = host;
    this.#actions = actions;
  }

  get waiting(): boolean {
    return this.#waiting !== undefined;
  }

  async hold(ask: Ask, judged: Judged, decision: Extract<Decision, { effect: "hold" }>): Promise<void> {
    const host = this.#host;
    const lifetime = this.#actions.inTransaction() ? host.resource.heldInTransaction : LIMITS.time.approval;
    const operation = heldOperation(host.resource, ask, judged);
    host.count("held", 1);
    host.record(holdEvent(ask, judged, operation, decision));
    const started = await host.hold({ operation, decision, expiresAt: host.now() + lifetime });
    const undescribed = started.opened === true && started.state !== "granted";
    const approval = started.state === "refused" ? started.refusal.approval : started.approval;
    if (undescribed && approval !== undefined) void this.#describe(ask, judged, approval);
    host.turn(() => {
      if (this.#actions.ended()) {
        if (started.state === "waiting") host.withdraw(started.approval);
      } else if (started.state === "waiting" && this.#actions.canceled(ask)) {
        this.#withdrawn(ask, started.approval, CANCELED_BY_CLIENT);
        this.#actions.refuse(ask, CANCELED);
      } else if (started.state === "refused") this.#actions.refuse(ask, started.refusal, judged);
      else if (started.state === "granted") this.#actions.pass(ask, judged, started.approval);
      else this.#wait(ask, decision, started.approval, started.url);
    });
  }

  /** The outcome of an approval. False: nothing here waits for it. */
  decided(outcome: ApprovalOutcome): boolean {
    const waiting = this.#waiting;
    if (waiting === undefined || waiting.approval !== outcome.approval) return false;
    this.#stop();
    const waited = this.#host.now() - waiting.since;
    this.#host.record({ type: "approval", operation: waiting.ask.id, ...outcome, waited });
    const why = outcomeRefusal(outcome);
    if (why === undefined) void this.#resume(waiting);
    else this.#actions.refuse(waiting.ask, why);
    return true;
  }

  /** The client asked to cancel. False: nothing is held. */
  cancel(): boolean {
    const waiting = this.#waiting;
    if (waiting === undefined) return false;
    this.withdraw(CANCELED_BY_CLIENT);
    this.#actions.refuse(waiting.ask, CANCELED);
    return true;
  }

  /** Nobody waits for the operation any more. */
  withdraw(why: string): void {
    const waiting = this.#waiting;
    if (waiting === undefined) return;
    this.#stop();
    this.#withdrawn(waiting.ask, waiting.approval, why);
  }

  #withdrawn(ask: Ask, approval: string, reason: string): void {
    this.#host.record({ type: "withdrawn", operation: ask.id, approval, reason });
    this.#host.withdraw(approval);
  }

  /** Tells reviewers how many rows it would touch, by the plan of the text that would be sent. */
  async #describe(ask: Ask, judged: Judged, approval: string): Promise<void> {
    const { sql, parameters } = this.#actions.planned(ask, judged);
    const question = { operation: judged.operation, parameters, sql, values: textValues(ask) };
    this.#host.describe(approval, await estimateRows(this.#host, question));
  }

  #wait(ask: Ask, decision: Extract<Decision, { effect: "hold" }>, approval: string, url: string): void {
    const host = this.#host;
    this.#waiting = {
      ask,
      approval,
      requirements: decision.requirements,
      since: host.now(),
      reminder: remind(host, decision, approval, (text) => this.#actions.notice(text)),
    };
    host.notify({ type: "held", approval, url, waiting: true });
    this.#actions.notice(...heldMessages(decision, approval));
  }

  /** The operation was approved: it is decided anew, as policy may have changed while it waited. */
  async #resume({ ask, approval, requirements }: Waiting): Promise<void> {
    const used = await this.#host.useApproval(approval);
    const judged = used.ok ? await this.#actions.judgeAnew(ask) : used;
    this.#host.turn(() => {
      if (this.#actions.ended()) return;
      if (!judged.ok) {
        this.#actions.refuse(ask, judged.error);
        return;
      }
      const why = changedSince(requirements, judged.value.decision);
      if (why !== undefined) this.#actions.refuse(ask, why, judged.value);
      else this.#actions.pass(ask, judged.value, approval);
    });
  }

  #stop(): void {
    if (this.#waiting !== undefined) clearInterval(this.#waiting.reminder);
    this.#waiting = undefined;
  }
}

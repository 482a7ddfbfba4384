/**
 * The driver of a PostgreSQL session: it feeds the pure PostgresMachine (wire/postgres/machine.ts) and turns
 * what the machine asks into decisions, holds and records.
 *
 *   ask ──► judge (postgres-statements.ts) ──► deny ─► refuse
 *            │ masks need a fresh catalogue     allow ─► record, forward
 *            └─► read it, judge again           hold ─► record, notice, wait ─► judge again ─► record, forward
 */
import { PostgresOpened } from "../../../wire/control.ts";
import {
  type PostgresState,
  freeze,
  newPostgresState,
  parkedBytes,
  step,
  thaw,
} from "../../../wire/postgres/machine.ts";
import {
  type Ask,
  type Effect,
  type Guard,
  type Input,
  type Verdict,
} from "../../../wire/postgres/machine-types.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import type { Result } from "../../../wire/result.ts";
import { ddlBegins, ddlEnds, forgetCatalogue } from "../catalogues.ts";
import type { ApprovalOutcome } from "../control/types.ts";
import type { EventBody } from "../recording/chain.ts";
import type { ChannelHandler, SessionDriver, SessionHost } from "./driver.ts";
import { CancelKey } from "./postgres-cancel-key.ts";
import { PostgresDelivery } from "./postgres-delivery.ts";
import { operationEvent, refusalEvent } from "./postgres-events.ts";
import { freezePrepared, thawPrepared } from "./postgres-frozen.ts";
import { CANCELED, PostgresHolds } from "./postgres-holds.ts";
import { CATALOGUE_CHANGING, PostgresJudge } from "./postgres-judge.ts";
import { openDatabase } from "./postgres-opening.ts";
import { RunningOperations } from "./postgres-running.ts";
import { type Judged, analyseText } from "./postgres-statements.ts";

/** Queued bytes towards one side above which the other side gets no credit. */
const LOW_WATER = 512 << 10;

export class PostgresDriver implements SessionDriver {
  readonly reserves = true;
  readonly #host: SessionHost;
  readonly #state: PostgresState;
  readonly #judge: PostgresJudge;
  readonly #key: CancelKey;
  readonly #running = new RunningOperations();
  readonly #holds: PostgresHolds;
  readonly #delivery: PostgresDelivery;
  /** Startup parameters of the server's session. */
  #parameters: Readonly<Record<string, string>> = {};
  #channel: number | undefined;
  #status: "I" | "T" | "E" = "I";
  /** The message that the machine waits to hear about, and whether its client has asked to cancel meanwhile. */
  #pending: { readonly id: number; canceled: boolean } | undefined;
  /** Something in the open transaction touched masked values: a deferred check may speak of them at its end. */
  #hiding = false;
  /** Asks that were refused here, so that refusals of the machine's own are told apart. */
  readonly #refused = new Map<number, Ask>();
  /** DDL went to the server in a transaction that has not ended. */
  #changing = false;
  #ended = false;
  #owedToClient = 0;
  #owedToServer = 0;

  constructor(host: SessionHost, frozen: string | undefined) {
    this.#host = host;
    this.#delivery = new PostgresDelivery(host, this.#running, (why) => this.terminate(why));
    this.#holds = new PostgresHolds(host, {
      ended: () => this.#ended,
      inTransaction: () => this.#status !== "I",
      notice: (message, hint) =>
        this.#run({ kind: "notice", message, ...(hint === undefined ? {} : { hint }) }),
      pass: (ask, judged, approval) => this.#pass(ask, judged, approval),
      refuse: (ask, why, judged) => this.#refuse(ask, why, judged),
      canceled: (ask) => this.#canceled(ask),
      judgeAnew: (ask) => this.#judge.judgeAnew(ask),
      planned: (ask, judged) => ({ sql: this.#judge.textSent(ask, judged), parameters: this.#parameters }),
    });
    const kept = frozen === undefined ? undefined : thawPrepared(frozen);
    this.#judge = new PostgresJudge(host, () => this.#delivery.detects, kept);
    this.#key = kept === undefined ? CancelKey.random() : new CancelKey(kept.processId, kept.secretKey);
    this.#state = kept === undefined ? newPostgresState() : thaw(kept.machine);
    if (kept === undefined) return;
    this.#parameters = kept.parameters;
    this.#status = kept.status;
    this.#hiding = kept.hiding;
    this.#channel = kept.channel;
    if (this.#channel !== undefined) host.listen(this.#channel, this.#channelHandler());
  }

  get processId(): number {
    return this.#key.processId;
  }

  // What happens to the driver.

  clientBytes(bytes: Uint8Array): void {
    this.#owedToClient += bytes.length;
    this.#run({ kind: "clientBytes", bytes });
  }

  clientEnded(): void {
    this.#holds.withdraw("the client has gone");
    // What it asked for last must not run on for nobody.
    if (this.#running.size > 0 && this.#channel !== undefined)
      this.#host.signalChannel(this.#channel, { type: "cancel" });
    this.#run({ kind: "clientEnded" });
    if (!this.#ended) this.#end(undefined);
  }

  terminate(why: Refusal): void {
    this.#holds.withdraw(why.message);
    this.#run({ kind: "terminate", refusal: why });
    // In the middle of a message to the client nothing can be said: the connection just ends.
    if (!this.#ended) this.#end(why);
  }

  configChanged(): void {
    forgetCatalogue(this.#host.resource.name);
    this.#judge.masking.forget();
  }

  cancel(processId: number, secretKey: Uint8Array): boolean {
    if (!this.#key.fits(processId, secretKey, this.#state.minor)) return false;
    if (this.#holds.cancel()) return true;
    // What is being decided, or held just now, does not run any more; what the server runs is its to cancel.
    if (this.#pending !== undefined) this.#pending.canceled = true;
    if (this.#channel !== undefined && (this.#pending === undefined || this.#running.executing))
      this.#host.signalChannel(this.#channel, { type: "cancel" });
    return true;
  }

  approvalDecided(outcome: ApprovalOutcome): boolean {
    return this.#holds.decided(outcome);
  }

  pump(): void {
    if (this.#owedToServer > 0 && this.#channel !== undefined && this.#host.clientQueued() < LOW_WATER) {
      this.#host.consumed(this.#channel, this.#owedToServer);
      this.#owedToServer = 0;
    }
    if (this.#owedToClient === 0) return;
    const queued = this.#channel === undefined ? 0 : this.#host.channelQueued(this.#channel);
    const free = this.#owedToClient - Math.min(parkedBytes(this.#state), this.#owedToClient);
    if (free > 0 && queued < LOW_WATER) {
      this.#host.clientConsumed(free);
      this.#owedToClient -= free;
    }
  }

  freeze(): string | undefined {
    if (this.#running.size > 0 || this.#holds.waiting || this.#changing) return undefined;
    if (this.#owedToClient > 0 || this.#owedToServer > 0) return undefined;
    const machine = freeze(this.#state);
    if (machine === undefined) return undefined;
    return freezePrepared({
      ...this.#judge.names,
      machine,
      parameters: this.#parameters,
      processId: this.#key.processId,
      secretKey: this.#key.secret,
      status: this.#status,
      hiding: this.#hiding,
      channel: this.#channel,
    });
  }

  // The machine.

  /** Feeds the machine and does what it says, in order. */
  #run(input: Input): void {
    for (const effect of step(this.#state, input)) {
      this.#do(effect);
      // Ended in the middle: what the machine said before it knew is not done any more.
      if (this.#ended) return;
    }
  }

  #do(effect: Effect): void {
    const host = this.#host;
    switch (effect.kind) {
      case "toClient":
        this.#delivery.flushCopy();
        host.toClient(effect.bytes);
        return;
      case "toServer":
        if (this.#channel !== undefined) host.toChannel(this.#channel, effect.bytes);
        return;
      case "ask":
        this.#ask(effect.ask);
        return;
      case "open":
        void this.#open(effect);
        return;
      case "cancelRequest":
        void host.cancelOther(effect.processId, effect.secretKey).finally(() => {
          host.turn(() => this.#end(undefined));
        });
        return;
      case "parsed":
        this.#judge.parsed(effect.id);
        this.#running.end(effect.id);
        return;
      case "statementClosed":
        this.#judge.statementClosed(effect.name);
        return;
      case "rowDescription":
        this.#running.columns(effect.id, effect.fields);
        return;
      case "rows":
        this.#delivery.rows(effect.id, effect.bytes, effect.fields);
        return;
      case "delivered":
        this.#delivery.delivered(effect.id, effect.bytes, effect.rows);
        return;
      case "copiedIn":
        this.#delivery.delivered(effect.id, effect.bytes, 0);
        return;
      case "completed":
        this.#completed(effect.id, effect.tag);
        return;
      case "failed":
        this.#failed(effect.id, effect.sqlstate, effect.message);
        return;
      case "refused":
        this.#refusalTold(effect.id, effect.refusal);
        return;
      case "skipped":
        this.#refused.delete(effect.id);
        this.#judge.skipped(effect.id);
        this.#running.end(effect.id);
        return;
      case "ready":
        this.#ready(effect.status, effect.mark);
        return;
      case "end":
        this.#end(effect.refusal);
        return;
    }
  }

  // Opening.

  async #open(effect: Extract<Effect, { kind: "open" }>): Promise<void> {
    const opened = await openDatabase(this.#host, this.#judge.masking, effect, this.#channelHandler());
    this.#host.turn(() => {
      if (opened.ok) {
        this.#channel = opened.value.channel;
        this.#parameters = opened.value.parameters;
      } else if (!this.#ended) this.#run({ kind: "openFailed", refusal: opened.error });
    });
  }

  #channelHandler(): ChannelHandler {
    return {
      opened: (payload) => {
        const answer = PostgresOpened.safeParse(payload);
        if (!answer.success) {
          const error = refusal("upstream_lost", "the connector's answer was not understood");
          this.#run({ kind: "openFailed", refusal: error });
          return;
        }
        this.#host.record({ type: "opened", database: answer.data.database });
        const { parameters } = answer.data;
        this.#run({
          kind: "opened",
          parameters,
          processId: this.#key.processId,
          secretKey: this.#key.secret,
        });
      },
      data: (bytes) => {
        this.#owedToServer += bytes.length;
        this.#run({ kind: "serverBytes", bytes });
      },
      signal: () => undefined,
      ended: () => this.#run({ kind: "serverEnded" }),
      closed: (why) => {
        this.#channel = undefined;
        if (this.#state.phase === "opening") this.#run({ kind: "openFailed", refusal: why });
        else this.terminate(why);
      },
    };
  }

  // Asking.

  #ask(ask: Ask): void {
    this.#pending = { id: ask.id, canceled: false };
    const judged = this.#judge.judge(ask);
    if (judged === "catalogue")
      void this.#afterCatalogue(ask, () => this.#settle(ask, this.#judge.judge(ask)));
    else if (!judged.ok && judged.error.code === "relation_unknown" && this.#judge.masking.mayRefresh()) {
      // The relation may be newer than the catalogue: look once, then the answer stands.
      forgetCatalogue(this.#host.resource.name);
      void this.#afterCatalogue(ask, () => this.#settle(ask, this.#judge.judge(ask)));
    } else this.#settle(ask, judged);
  }

  async #afterCatalogue(ask: Ask, then: () => void): Promise<void> {
    const read = await this.#judge.masking.refresh();
    this.#host.turn(() => {
      if (this.#ended) return;
      if (read.ok) then();
      else this.#refuse(ask, read.error);
    });
  }

  #canceled(ask: Ask): boolean {
    return this.#pending?.id === ask.id && this.#pending.canceled;
  }

  #settle(ask: Ask, judged: Result<Judged, Refusal> | "catalogue"): void {
    if (this.#canceled(ask)) {
      this.#refuse(ask, CANCELED);
      return;
    }
    if (judged === "catalogue") {
      this.#refuse(ask, CATALOGUE_CHANGING);
      return;
    }
    if (!judged.ok) {
      this.#refuse(ask, judged.error);
      return;
    }
    const { decision } = judged.value;
    if (decision.effect === "deny") this.#refuse(ask, decision.refusal, judged.value);
    else if (decision.effect === "allow" || ask.kind === "parse") this.#pass(ask, judged.value);
    else if (ask.kind === "execute" && this.#judge.useApproval(ask)) this.#pass(ask, judged.value);
    else void this.#holds.hold(ask, judged.value, decision);
  }

  /** Takes the statements out of the budget of the session's task, where there is one, and lets them through. */
  #pass(ask: Ask, judged: Judged, approval?: string): void {
    if (this.#canceled(ask)) {
      this.#refuse(ask, CANCELED, judged);
      return;
    }
    const counts = ask.kind === "query" || ask.kind === "bind";
    const reserved = counts ? this.#host.reserve(() => statementCount(ask)) : undefined;
    if (reserved === undefined) {
      this.#forward(ask, judged, approval);
      return;
    }
    void reserved.then((taken) =>
      this.#host.turn(() => {
        if (this.#ended) return;
        if (!taken.ok) this.#refuse(ask, taken.error, judged);
        else if (this.#canceled(ask)) this.#refuse(ask, CANCELED, judged);
        else this.#forward(ask, judged, approval);
      }),
    );
  }

  #forward(ask: Ask, judged: Judged, approval?: string): void {
    const host = this.#host;
    const room = this.#judge.room(ask, judged);
    if (!room.ok) {
      this.#refuse(ask, room.error, judged);
      return;
    }
    host.record(operationEvent(ask, judged, approval));
    if (ask.kind === "query" || ask.kind === "bind") host.count("operations", 1);
    this.#judge.forwarded(ask, judged, approval !== undefined);
    if (judged.ddl && (ask.kind === "query" || ask.kind === "execute")) this.#ddlSent();
    if (ask.kind !== "bind") this.#running.start(ask, judged, host.resource.recordResultBytes, host.now());
    this.#answer({
      id: ask.id,
      effect: "forward",
      guard: this.#guardOf(judged),
      ...(judged.sql === undefined || ask.kind === "bind" || ask.kind === "execute"
        ? {}
        : { sql: judged.sql }),
    });
  }

  /** The machine may ask about the next message before this returns. */
  #answer(verdict: Verdict): void {
    this.#pending = undefined;
    this.#run({ kind: "verdict", verdict });
  }

  /** Errors of a deferred check come with COMMIT or SET CONSTRAINTS, whose own guard would be open. */
  #guardOf(judged: Judged): Guard {
    if (judged.guard.hideErrorDetail) this.#hiding = true;
    return this.#hiding && !judged.guard.hideErrorDetail
      ? { ...judged.guard, hideErrorDetail: true }
      : judged.guard;
  }

  #refuse(ask: Ask, why: Refusal, judged?: Judged): void {
    this.#recordRefusal(refusalEvent(ask.id, why, ask, judged), why);
    this.#refused.set(ask.id, ask);
    this.#answer({ id: ask.id, effect: "refuse", refusal: why });
  }

  /** The client has its answer. What the machine refused without asking has to be recorded still. */
  #refusalTold(id: number, why: Refusal): void {
    const ask = this.#refused.get(id);
    if (ask === undefined) this.#recordRefusal(refusalEvent(id, why, undefined, undefined), why);
    this.#refused.delete(id);
    this.#judge.notRun(id, ask);
    this.#running.end(id);
  }

  /** A refusal in the recording, in the session's counts and to the shim. */
  #recordRefusal(event: EventBody, why: Refusal): void {
    const { code, message } = why;
    this.#host.record(event);
    this.#host.count("denied", code === "approval_required" ? 0 : 1);
    const approval = why.approval === undefined ? {} : { approval: why.approval };
    this.#host.notify({ type: "refused", code, message, ...approval });
  }

  // Results.

  #completed(id: number, tag: string): void {
    const running = this.#running.get(id);
    this.#judge.completed(id, tag, running);
    if (running === undefined) return;
    this.#host.count("rows", running.result.rows);
    this.#host.record(this.#running.completed(id, tag, this.#host.now()));
  }

  #failed(id: number, sqlstate: string, message: string): void {
    this.#judge.failed(id, sqlstate, this.#running.get(id));
    this.#host.record(this.#running.failed(id, sqlstate, message, this.#host.now()));
  }

  /** Operations up to the id `mark` have ended; a client that pipelines may have later ones under way. */
  #ready(status: "I" | "T" | "E", mark: number): void {
    this.#status = status;
    this.#running.endUpTo(mark);
    if (status !== "I") return;
    this.#judge.transactionEnded(mark);
    // What is under way may belong to a transaction that has not ended, or not begun.
    if (this.#running.size > 0) return;
    this.#hiding = false;
    if (this.#changing) {
      this.#changing = false;
      ddlEnds(this.#host.resource.name);
    }
  }

  #ddlSent(): void {
    if (this.#changing) return;
    this.#changing = true;
    ddlBegins(this.#host.resource.name);
  }

  #end(why: Refusal | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#holds.withdraw(why?.message ?? "the session has ended");
    if (this.#changing) ddlEnds(this.#host.resource.name);
    this.#host.end(why);
  }
}

/** Statements of a Query message; one of anything else. */
function statementCount(ask: Ask): number {
  const statements = ask.kind === "query" ? analyseText(ask.sql) : undefined;
  return statements?.ok === true ? Math.max(1, statements.value.length) : 1;
}

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
  OPEN_GUARD,
} from "../../../wire/postgres/machine-types.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import type { Result } from "../../../wire/result.ts";
import { NO_SESSION_NAMES, type SessionNames, afterStatement } from "../../policy/masks/session-names.ts";
import {
  type PreparedState,
  checkRoom,
  completed,
  ended,
  forwarded,
  newPreparedState,
  parseForwarded,
  parsed,
  portalBound,
  resolve,
  resolveBind,
  statementClosed,
  transactionEnded,
  unknownName,
} from "../../policy/sql/prepared.ts";
import { ddlBegins, ddlEnds, forgetCatalogue } from "../catalogues.ts";
import type { ApprovalOutcome } from "../control/types.ts";
import { randomBytes } from "../identifiers.ts";
import type { EventBody } from "../recording/chain.ts";
import type { ChannelHandler, SessionDriver, SessionHost } from "./driver.ts";
import { Detectors, type InspectedRows } from "./postgres-detectors.ts";
import { operationEvent, refusalEvent } from "./postgres-events.ts";
import { freezePrepared, thawPrepared } from "./postgres-frozen.ts";
import { PostgresHolds } from "./postgres-holds.ts";
import { MaskingSource } from "./postgres-masking.ts";
import { openDatabase } from "./postgres-opening.ts";
import { RunningOperations } from "./postgres-running.ts";
import {
  type Judge,
  type Judged,
  type Kept,
  analyseText,
  judgeKept,
  judgeMessage,
  keepMessage,
} from "./postgres-statements.ts";

/** undefined_column and undefined_table (PostgreSQL docs, appendix A). */
const UNKNOWN_NAME: ReadonlySet<string> = new Set(["42703", "42P01"]);
/** Queued bytes towards one side above which the other side gets no credit. */
const LOW_WATER = 512 << 10;

/** A portal that Bind made: what it runs, and the approval that its first Execute uses up. */
type BoundPortal = { readonly kept: Kept; approved: boolean };

export class PostgresDriver implements SessionDriver {
  readonly reserves = true;
  readonly #host: SessionHost;
  readonly #state: PostgresState;
  readonly #masking: MaskingSource;
  readonly #prepared: PreparedState<Kept>;
  readonly #running = new RunningOperations();
  readonly #holds: PostgresHolds;
  readonly #portals = new Map<number, BoundPortal>();
  #detectors = new Detectors();
  #names: SessionNames = NO_SESSION_NAMES;
  /** Startup parameters of the server's session. */
  #parameters: Readonly<Record<string, string>> = {};
  #processId = 0;
  #secretKey: Uint8Array = new Uint8Array(0);
  #channel: number | undefined;
  #status: "I" | "T" | "E" = "I";
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
    this.#masking = new MaskingSource(host);
    this.#holds = new PostgresHolds(host, {
      ended: () => this.#ended,
      inTransaction: () => this.#status !== "I",
      notice: (message, hint) =>
        this.#run({ kind: "notice", message, ...(hint === undefined ? {} : { hint }) }),
      pass: (ask, judged, approval) => this.#pass(ask, judged, approval),
      refuse: (ask, why, judged) => this.#refuse(ask, why, judged),
      judgeAnew: (ask) => this.#judgeAnew(ask),
      planned: (ask, judged) => ({ sql: this.#textSent(ask, judged), parameters: this.#parameters }),
    });
    if (frozen === undefined) {
      this.#state = newPostgresState();
      this.#prepared = newPreparedState();
      const random = randomBytes(4);
      // Positive, as PostgreSQL's own process ids are: some clients print them signed.
      this.#processId = new DataView(random.buffer).getUint32(0) & 0x7fffffff;
      this.#secretKey = randomBytes(32);
      return;
    }
    const kept = thawPrepared(frozen);
    this.#state = thaw(kept.machine);
    this.#prepared = kept.prepared;
    this.#names = kept.names;
    this.#parameters = kept.parameters;
    this.#processId = kept.processId;
    this.#secretKey = kept.secretKey;
    this.#status = kept.status;
    this.#hiding = kept.hiding;
    this.#channel = kept.channel;
    for (const [id, portal] of kept.portals) this.#portals.set(id, portal);
    if (this.#channel !== undefined) host.listen(this.#channel, this.#channelHandler());
  }

  get processId(): number {
    return this.#processId;
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
    this.#masking.forget();
  }

  cancel(processId: number, secretKey: Uint8Array): boolean {
    // Protocol 3.0 has room for four bytes of the key only.
    const expected = this.#secretKey.subarray(0, this.#state.minor >= 2 ? this.#secretKey.length : 4);
    if (processId !== this.#processId || !sameSecret(secretKey, expected)) return false;
    if (!this.#holds.cancel() && this.#channel !== undefined)
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
      machine,
      prepared: this.#prepared,
      names: this.#names,
      parameters: this.#parameters,
      processId: this.#processId,
      secretKey: this.#secretKey,
      status: this.#status,
      hiding: this.#hiding,
      channel: this.#channel,
      portals: this.#portals,
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
        this.#flushCopy();
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
        parsed(this.#prepared, effect.id);
        this.#running.end(effect.id);
        return;
      case "statementClosed":
        statementClosed(this.#prepared, effect.name);
        return;
      case "rowDescription":
        this.#running.columns(effect.id, effect.fields);
        return;
      case "rows":
        this.#inspect(effect.id, this.#detectors.inspect(effect.id, effect.bytes, effect.fields));
        return;
      case "delivered":
        this.#delivered(effect.id, effect.bytes, effect.rows);
        return;
      case "copiedIn":
        this.#delivered(effect.id, effect.bytes, 0);
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
        ended(this.#prepared, effect.id);
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
    const opened = await openDatabase(this.#host, this.#masking, effect, this.#channelHandler());
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
        this.#run({ kind: "opened", parameters, processId: this.#processId, secretKey: this.#secretKey });
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
    const judged = this.#judge(ask);
    if (judged === "catalogue") void this.#afterCatalogue(ask, () => this.#settle(ask, this.#judge(ask)));
    else if (!judged.ok && judged.error.code === "relation_unknown" && this.#masking.mayRefresh()) {
      // The relation may be newer than the catalogue: look once, then the answer stands.
      forgetCatalogue(this.#host.resource.name);
      void this.#afterCatalogue(ask, () => this.#settle(ask, this.#judge(ask)));
    } else this.#settle(ask, judged);
  }

  async #afterCatalogue(ask: Ask, then: () => void): Promise<void> {
    const read = await this.#masking.refresh();
    this.#host.turn(() => {
      if (this.#ended) return;
      if (read.ok) then();
      else this.#refuse(ask, read.error);
    });
  }

  /** Policy's and masks' answer now, with a catalogue that is fresh. */
  async #judgeAnew(ask: Ask): Promise<Result<Judged, Refusal>> {
    const masks = await this.#masking.refreshIfStale();
    if (!masks.ok) return masks;
    const judged = this.#judge(ask);
    return judged === "catalogue" ? { ok: false, error: CATALOGUE_CHANGING } : judged;
  }

  /** The answer now; "catalogue": masks need a newer one first. */
  #judge(ask: Ask): Result<Judged, Refusal> | "catalogue" {
    const masking = this.#masking.current(this.#names);
    if (masking === "catalogue") return "catalogue";
    if (!masking.ok) return masking;
    const judge: Judge = {
      decide: (operation) => this.#host.decide(operation),
      prepared: this.#prepared,
      masking: masking.value,
      inspectRows: this.#detects(),
    };
    switch (ask.kind) {
      case "query":
      case "parse": {
        const statements = analyseText(ask.sql);
        if (!statements.ok) return statements;
        // No statement at all: comments and semicolons do nothing.
        if (statements.value.length === 0) return { ok: true, value: nothing(ask.sql) };
        return judgeMessage(ask.sql, statements.value, judge);
      }
      case "bind": {
        const found = resolveBind(this.#prepared, ask.statement, ask.parseId);
        if (found.state !== "known") {
          return { ok: false, error: unknownName("statements", ask.statement, found.state) };
        }
        return this.#judgeKept(found.value, judge);
      }
      case "execute": {
        const kept = this.#portalOf(ask);
        return kept.ok ? this.#judgeKept(kept.value, judge) : kept;
      }
    }
  }

  #judgeKept(kept: Kept, judge: Judge): Result<Judged, Refusal> {
    return kept.whole && kept.actions.length === 0
      ? { ok: true, value: nothing(kept.text) }
      : judgeKept(kept, judge);
  }

  /** The text of a judged statement as the server has it, or would get it. */
  #textSent(ask: Ask, judged: Judged): string {
    if (ask.kind !== "bind") return judged.sql ?? judged.operation.text;
    const found = resolveBind(this.#prepared, ask.statement, ask.parseId);
    return (found.state === "known" ? found.value.sent : undefined) ?? judged.operation.text;
  }

  #portalOf(ask: Extract<Ask, { kind: "execute" }>): Result<Kept, Refusal> {
    const bound = ask.bindId === undefined ? undefined : this.#portals.get(ask.bindId);
    if (bound !== undefined) return { ok: true, value: bound.kept };
    const cursor = resolve(this.#prepared, "cursors", ask.portal);
    if (cursor.state === "known") return { ok: true, value: cursor.value };
    return { ok: false, error: unknownName("cursors", ask.portal, cursor.state) };
  }

  #settle(ask: Ask, judged: Result<Judged, Refusal> | "catalogue"): void {
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
    else if (ask.kind === "execute" && this.#approvedPortal(ask)) this.#pass(ask, judged.value);
    else void this.#holds.hold(ask, judged.value, decision);
  }

  /** The approval that the portal's Bind got counts for its first Execute, and for going on with it. */
  #approvedPortal(ask: Extract<Ask, { kind: "execute" }>): boolean {
    const bound = ask.bindId === undefined ? undefined : this.#portals.get(ask.bindId);
    if (bound === undefined) return false;
    if (ask.continued) return true;
    const { approved } = bound;
    bound.approved = false;
    return approved;
  }

  /** Takes the statements out of the budget of the session's task, where there is one, and lets them through. */
  #pass(ask: Ask, judged: Judged, approval?: string): void {
    const counts = ask.kind === "query" || ask.kind === "bind";
    const reserved = counts ? this.#host.reserve(() => statementCount(ask)) : undefined;
    if (reserved === undefined) {
      this.#forward(ask, judged, approval);
      return;
    }
    void reserved.then((taken) =>
      this.#host.turn(() => {
        if (this.#ended) return;
        if (taken.ok) this.#forward(ask, judged, approval);
        else this.#refuse(ask, taken.error, judged);
      }),
    );
  }

  #forward(ask: Ask, judged: Judged, approval?: string): void {
    const host = this.#host;
    const creates =
      judged.changes.filter(({ op }) => op === "create").length + (ask.kind === "parse" ? 1 : 0);
    const room = checkRoom(this.#prepared, creates);
    if (!room.ok) {
      this.#refuse(ask, room.error, judged);
      return;
    }
    host.record(operationEvent(ask, judged, approval));
    if (ask.kind === "query" || ask.kind === "bind") host.count("operations", 1);
    switch (ask.kind) {
      case "parse":
        parseForwarded(this.#prepared, ask.id, ask.name, keepMessage(ask.sql, judged));
        break;
      case "bind": {
        const found = resolveBind(this.#prepared, ask.statement, ask.parseId);
        if (found.state === "known")
          this.#portals.set(ask.id, { kept: found.value, approved: approval !== undefined });
        portalBound(this.#prepared, ask.portal);
        break;
      }
      case "query":
      case "execute":
        forwarded(this.#prepared, ask.id, judged.changes);
        if (judged.ddl) this.#ddlSent();
        break;
    }
    if (ask.kind !== "bind") this.#running.start(ask, judged, host.resource.recordResultBytes, host.now());
    this.#run({
      kind: "verdict",
      verdict: {
        id: ask.id,
        effect: "forward",
        guard: this.#guardOf(judged),
        ...(judged.sql === undefined || ask.kind === "bind" || ask.kind === "execute"
          ? {}
          : { sql: judged.sql }),
      },
    });
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
    this.#run({ kind: "verdict", verdict: { id: ask.id, effect: "refuse", refusal: why } });
  }

  /** The client has its answer. What the machine refused without asking has to be recorded still. */
  #refusalTold(id: number, why: Refusal): void {
    const ask = this.#refused.get(id);
    if (ask === undefined) this.#recordRefusal(refusalEvent(id, why, undefined, undefined), why);
    this.#refused.delete(id);
    // What the server was sent in place of a refused Parse of the unnamed statement drops the former one.
    ended(this.#prepared, id, ask?.kind === "parse" && ask.name === "");
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

  #delivered(id: number, bytes: Uint8Array, rows: number): void {
    this.#host.rowsQueued(rows);
    const event = this.#running.delivered(id, bytes, rows);
    if (event !== undefined) this.#host.record(event);
  }

  /** Delivers rows that the detectors have seen; where they block, the session ends instead. */
  #inspect(id: number, inspected: InspectedRows): void {
    const host = this.#host;
    const { bytes, rows, found } = inspected;
    if (found.length > 0)
      host.record({ type: "detected", operation: id, kinds: found, action: host.resource.detectors });
    if (found.length > 0 && host.resource.detectors === "block") {
      this.#detectors = new Detectors();
      const what = found.join(", ");
      const message = `the result holds what must not leave ${host.resource.name}: ${what}`;
      this.terminate(
        refusal("mask_value_withheld", message, { hint: "leave it out of the query; the session has ended" }),
      );
      return;
    }
    if (bytes.length === 0) return;
    host.toClient(bytes);
    this.#delivered(id, bytes, rows);
  }

  #flushCopy(): void {
    if (!this.#detectors.holding) return;
    const flushed = this.#detectors.flush();
    if (flushed.bytes.length > 0) this.#inspect(flushed.operation, flushed);
  }

  /** Detectors look at results unless the principal may reveal everything (relation and column `*`). */
  #detects(): boolean {
    return this.#host.resource.detectors !== "off" && !this.#host.reveals("*", "*");
  }

  #completed(id: number, tag: string): void {
    completed(this.#prepared, id, tag);
    const running = this.#running.get(id);
    if (running === undefined) return;
    this.#host.count("rows", running.result.rows);
    this.#rememberNames(running.ask, running.judged, running.statements);
    this.#host.record(this.#running.completed(id, tag, this.#host.now()));
  }

  #rememberNames(ask: Ask, judged: Judged, index: number): void {
    // DISCARD is no DDL, but drops what the session made.
    if (!judged.ddl && this.#names.created.length === 0) return;
    const text = ask.kind === "query" ? ask.sql : judged.operation.text;
    const statements = analyseText(text);
    const statement = statements.ok ? statements.value[ask.kind === "query" ? index : 0] : undefined;
    if (statement !== undefined) this.#names = afterStatement(this.#names, statement.statement.node);
  }

  #failed(id: number, sqlstate: string, message: string): void {
    const running = this.#running.get(id);
    const masked = (running?.judged.guard.withheldAttributes.length ?? 0) > 0;
    // The server knows other names than we do: look before the next statement is rewritten.
    if (masked && UNKNOWN_NAME.has(sqlstate) && this.#masking.mayRefresh()) {
      forgetCatalogue(this.#host.resource.name);
    }
    const unnamedDropped = running?.ask.kind === "parse" && running.ask.name === "";
    ended(this.#prepared, id, unnamedDropped);
    this.#host.record(this.#running.failed(id, sqlstate, message, this.#host.now()));
  }

  /** Operations up to the id `mark` have ended; a client that pipelines may have later ones under way. */
  #ready(status: "I" | "T" | "E", mark: number): void {
    this.#status = status;
    this.#running.endUpTo(mark);
    if (status !== "I") return;
    for (const id of this.#portals.keys()) if (id <= mark) this.#portals.delete(id);
    transactionEnded(this.#prepared);
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

function nothing(sql: string): Judged {
  return {
    operation: { actions: [], text: sql },
    decision: { effect: "allow", policies: [] },
    sql: undefined,
    guard: OPEN_GUARD,
    notes: [],
    changes: [],
    ddl: false,
  };
}

const CATALOGUE_CHANGING = refusal(
  "catalogue_missing",
  "the database's catalogue is not known, so masks cannot be applied",
  { hint: "try again; schema changes are under way" },
);

/** Compares without telling by its time how much was right. */
function sameSecret(given: Uint8Array, expected: Uint8Array): boolean {
  if (given.length !== expected.length) return false;
  let difference = 0;
  for (const [index, byte] of given.entries()) difference |= byte ^ (expected[index] ?? 0);
  return difference === 0;
}

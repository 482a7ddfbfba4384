/**
 * What a client's message means in its PostgreSQL session, and whether it may go: policy and masks, with the
 * names that only this session knows (prepared statements, cursors, portals, temporary relations). The driver
 * says what became of each message, so that names stand for what the server has.
 */
import { type Ask, OPEN_GUARD } from "../../../wire/postgres/machine-types.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
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
import { forgetCatalogue } from "../catalogues.ts";
import type { SessionHost } from "./driver.ts";
import { MaskingSource } from "./postgres-masking.ts";
import type { RunningOperation } from "./postgres-running.ts";
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

export const CATALOGUE_CHANGING = refusal(
  "catalogue_missing",
  "the database's catalogue is not known, so masks cannot be applied",
  { hint: "try again; schema changes are under way" },
);

/** A portal that Bind made: what it runs, and the approval that its first Execute uses up. */
export type BoundPortal = { readonly kept: Kept; approved: boolean };

/** The names of a session, as they outlive hibernation. */
export type JudgeNames = {
  readonly prepared: PreparedState<Kept>;
  readonly names: SessionNames;
  readonly portals: ReadonlyMap<number, BoundPortal>;
};

export class PostgresJudge {
  readonly masking: MaskingSource;
  readonly #host: SessionHost;
  readonly #inspectRows: () => boolean;
  readonly #prepared: PreparedState<Kept>;
  readonly #portals: Map<number, BoundPortal>;
  #names: SessionNames;

  /** `inspectRows`: whether detectors look at results now. */
  constructor(host: SessionHost, inspectRows: () => boolean, known: JudgeNames | undefined) {
    this.#host = host;
    this.#inspectRows = inspectRows;
    this.masking = new MaskingSource(host);
    this.#prepared = known?.prepared ?? newPreparedState();
    this.#names = known?.names ?? NO_SESSION_NAMES;
    this.#portals = new Map(known?.portals);
  }

  get names(): JudgeNames {
    return { prepared: this.#prepared, names: this.#names, portals: this.#portals };
  }

  // Before it goes.

  /** The answer now; "catalogue": masks need a newer one first. */
  judge(ask: Ask): Result<Judged, Refusal> | "catalogue" {
    const masking = this.masking.current(this.#names);
    if (masking === "catalogue") return "catalogue";
    if (!masking.ok) return masking;
    const judge: Judge = {
      decide: (operation) => this.#host.decide(operation),
      prepared: this.#prepared,
      masking: masking.value,
      inspectRows: this.#inspectRows(),
    };
    switch (ask.kind) {
      case "query":
      case "parse": {
        const statements = analyseText(ask.sql);
        if (!statements.ok) return statements;
        // No statement at all: comments and semicolons do nothing.
        if (statements.value.length === 0) return ok(nothing(ask.sql));
        return judgeMessage(ask.sql, statements.value, judge);
      }
      case "bind": {
        const found = resolveBind(this.#prepared, ask.statement, ask.parseId);
        if (found.state !== "known") return err(unknownName("statements", ask.statement, found.state));
        return judgeAgain(found.value, judge);
      }
      case "execute": {
        const kept = this.#portalOf(ask);
        return kept.ok ? judgeAgain(kept.value, judge) : kept;
      }
    }
  }

  /** The answer now, with a catalogue that is fresh. */
  async judgeAnew(ask: Ask): Promise<Result<Judged, Refusal>> {
    const masks = await this.masking.refreshIfStale();
    if (!masks.ok) return masks;
    const judged = this.judge(ask);
    return judged === "catalogue" ? err(CATALOGUE_CHANGING) : judged;
  }

  /** The text of a judged statement as the server has it, or would get it. */
  textSent(ask: Ask, judged: Judged): string {
    if (ask.kind !== "bind") return judged.sql ?? judged.operation.text;
    const found = resolveBind(this.#prepared, ask.statement, ask.parseId);
    return (found.state === "known" ? found.value.sent : undefined) ?? judged.operation.text;
  }

  #portalOf(ask: Extract<Ask, { kind: "execute" }>): Result<Kept, Refusal> {
    const bound = ask.bindId === undefined ? undefined : this.#portals.get(ask.bindId);
    if (bound !== undefined) return ok(bound.kept);
    const cursor = resolve(this.#prepared, "cursors", ask.portal);
    if (cursor.state === "known") return ok(cursor.value);
    return err(unknownName("cursors", ask.portal, cursor.state));
  }

  /** The approval that the portal's Bind got counts for its first Execute, and for going on with it. */
  useApproval(ask: Extract<Ask, { kind: "execute" }>): boolean {
    const bound = ask.bindId === undefined ? undefined : this.#portals.get(ask.bindId);
    if (bound === undefined) return false;
    if (ask.continued) return true;
    const { approved } = bound;
    bound.approved = false;
    return approved;
  }

  /** Whether the session may have as many names as this would make. */
  room(ask: Ask, judged: Judged): Result<void, Refusal> {
    const creates =
      judged.changes.filter(({ op }) => op === "create").length + (ask.kind === "parse" ? 1 : 0);
    return checkRoom(this.#prepared, creates);
  }

  // What became of it.

  /** It goes to the server. `approved`: by reviewers, not by policy alone. */
  forwarded(ask: Ask, judged: Judged, approved: boolean): void {
    switch (ask.kind) {
      case "parse":
        parseForwarded(this.#prepared, ask.id, ask.name, keepMessage(ask.sql, judged));
        return;
      case "bind": {
        const found = resolveBind(this.#prepared, ask.statement, ask.parseId);
        if (found.state === "known") this.#portals.set(ask.id, { kept: found.value, approved });
        portalBound(this.#prepared, ask.portal);
        return;
      }
      case "query":
      case "execute":
        forwarded(this.#prepared, ask.id, judged.changes);
        return;
    }
  }

  parsed(id: number): void {
    parsed(this.#prepared, id);
  }

  statementClosed(name: string): void {
    statementClosed(this.#prepared, name);
  }

  /** One statement of the message has completed with this tag. */
  completed(id: number, tag: string, running: RunningOperation | undefined): void {
    completed(this.#prepared, id, tag);
    if (running !== undefined) this.#remember(running);
  }

  #remember({ ask, judged, statements: index }: RunningOperation): void {
    // DISCARD is no DDL, but drops what the session made.
    if (!judged.ddl && this.#names.created.length === 0) return;
    const text = ask.kind === "query" ? ask.sql : judged.operation.text;
    const statements = analyseText(text);
    const statement = statements.ok ? statements.value[ask.kind === "query" ? index : 0] : undefined;
    if (statement !== undefined) this.#names = afterStatement(this.#names, statement.statement.node);
  }

  /** The server answered with an error. */
  failed(id: number, sqlstate: string, running: RunningOperation | undefined): void {
    const masked = (running?.judged.guard.withheldAttributes.length ?? 0) > 0;
    // The server knows other names than we do: look before the next statement is rewritten.
    if (masked && UNKNOWN_NAME.has(sqlstate) && this.masking.mayRefresh()) {
      forgetCatalogue(this.#host.resource.name);
    }
    this.notRun(id, running?.ask);
  }

  /**
   * It had no effect. What the server was sent in place of a refused Parse of the unnamed statement drops the
   * former one, as a failed one does.
   */
  notRun(id: number, ask: Ask | undefined): void {
    ended(this.#prepared, id, ask?.kind === "parse" && ask.name === "");
  }

  /** The client skipped it after an error. */
  skipped(id: number): void {
    ended(this.#prepared, id);
  }

  /** The transaction is over, and with it the portals of messages up to the id `mark`. */
  transactionEnded(mark: number): void {
    for (const id of this.#portals.keys()) if (id <= mark) this.#portals.delete(id);
    transactionEnded(this.#prepared);
  }
}

function judgeAgain(kept: Kept, judge: Judge): Result<Judged, Refusal> {
  return kept.whole && kept.actions.length === 0 ? ok(nothing(kept.text)) : judgeKept(kept, judge);
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

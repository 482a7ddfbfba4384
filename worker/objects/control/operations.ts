/**
 * What was done in sessions, as far as searching and counting need it: a line for each operation and counts by
 * time. Sessions send both a second after something happened; the recordings themselves stay with them.
 */
import { principalKey } from "../../policy/approval.ts";
import type { SessionRow } from "./types.ts";

export type Effect = "allow" | "hold" | "deny";

/** One operation of a session. */
export type OperationLine = {
  readonly seq: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly text: string;
  readonly actions: readonly string[];
  /** Relations read or changed. */
  readonly relations: readonly string[];
  readonly effect: Effect;
  readonly rows?: number;
};

/** What happened in a session since it said so last; lines are there only as far as they are not too many. */
export type OperationReport = {
  readonly lines: readonly OperationLine[];
  readonly effects: Readonly<Record<Effect, number>>;
  /** Reads and changes of each relation. */
  readonly relations: Readonly<Record<string, readonly [reads: number, writes: number]>>;
};

type Row = {
  readonly session: string;
  readonly seq: number;
  readonly at: number;
  readonly text: string;
  readonly actions: string;
  readonly effect: Effect;
  readonly rows: number | null;
};

export type Search = {
  readonly resource?: string;
  readonly relation?: string;
  readonly text?: string;
  readonly decision?: Effect;
  readonly from?: number;
  readonly to?: number;
  readonly liveOnly: boolean;
  /** Sessions that began before this one: time and identifier of the last of the page before. */
  readonly before?: { readonly at: number; readonly id: string };
};

export type Tally = { readonly key: string; readonly a: number; readonly b: number; readonly c: number };

const BUCKET = 5 * 60_000;
const KEEP = 31 * 24 * 3_600_000;
/** Lines kept at most; the oldest make room. */
const MOST_LINES = 200_000;
const MATCHES = 3;

export class Operations {
  readonly #sql: SqlStorage;
  #reports = 0;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec(`
      CREATE TABLE IF NOT EXISTS operations (
        session TEXT NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, text TEXT NOT NULL, actions TEXT NOT NULL,
        relations TEXT NOT NULL, effect TEXT NOT NULL, rows INTEGER, PRIMARY KEY (session, seq));
      CREATE INDEX IF NOT EXISTS operations_at ON operations (at);
      CREATE TABLE IF NOT EXISTS tallies (
        bucket INTEGER NOT NULL, resource TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL,
        a INTEGER NOT NULL, b INTEGER NOT NULL, c INTEGER NOT NULL,
        PRIMARY KEY (bucket, resource, kind, key)) WITHOUT ROWID;
    `);
  }

  add(
    session: Pick<SessionRow, "id" | "resource" | "principal">,
    report: OperationReport,
    now: number,
  ): void {
    for (const { seq, at, text, actions, relations, effect, rows } of report.lines) {
      this.#sql.exec(
        `INSERT INTO operations VALUES (?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (session, seq) DO UPDATE SET effect = excluded.effect, rows = excluded.rows`,
        session.id,
        seq,
        at,
        text,
        JSON.stringify(actions),
        // Names between bars, so that a whole name can be looked for.
        `|${relations.join("|")}|`,
        effect,
        rows ?? null,
      );
    }
    const { allow, hold, deny } = report.effects;
    const bucket = Math.floor(now / BUCKET) * BUCKET;
    const { resource, principal } = session;
    this.#tally(bucket, resource, "effect", "", [allow, hold, deny]);
    const person = JSON.stringify([...(JSON.parse(principalKey(principal)) as string[]), principal.name]);
    this.#tally(bucket, resource, "person", person, [allow + hold + deny, hold, deny]);
    for (const [relation, [reads, writes]] of Object.entries(report.relations)) {
      this.#tally(bucket, resource, "relation", relation, [reads, writes, 0]);
    }
    if (++this.#reports % 100 === 1) this.#forget(now);
  }

  /** Sessions that fit, newest first. */
  search(search: Search, limit: number): { id: string; startedAt: number }[] {
    const where = ["1 = 1"];
    const values: (string | number)[] = [];
    const and = (condition: string, ...bound: (string | number)[]): void => {
      where.push(condition);
      values.push(...bound);
    };
    if (search.liveOnly) and("ended_at IS NULL");
    if (search.resource !== undefined) and("resource = ?", search.resource);
    if (search.from !== undefined) and("coalesce(ended_at, 1e15) >= ?", search.from);
    if (search.to !== undefined) and("started_at <= ?", search.to);
    const { before } = search;
    if (before !== undefined)
      and("(started_at < ? OR (started_at = ? AND id < ?))", before.at, before.at, before.id);
    const [condition, bound] = lineCondition(search);
    if (condition !== undefined) {
      and(`EXISTS (SELECT 1 FROM operations AS o WHERE o.session = sessions.id AND ${condition})`, ...bound);
    }
    return this.#sql
      .exec<{ id: string; startedAt: number }>(
        `SELECT id, started_at AS startedAt FROM sessions WHERE ${where.join(" AND ")} ORDER BY started_at DESC, id DESC LIMIT ?`,
        ...values,
        limit,
      )
      .toArray();
  }

  /** The first operations of a session that fit; none when nothing about operations was asked. */
  matches(session: string, search: Search): (Omit<OperationLine, "relations"> & { actions: string[] })[] {
    const [condition, bound] = lineCondition(search);
    if (condition === undefined) return [];
    return this.#sql
      .exec<Row>(
        `SELECT * FROM operations AS o WHERE o.session = ? AND ${condition} ORDER BY seq LIMIT ${MATCHES}`,
        session,
        ...bound,
      )
      .toArray()
      .map(({ seq, at, text, actions, effect, rows }) => ({
        seq,
        at,
        text,
        actions: JSON.parse(actions) as string[],
        effect,
        ...(rows === null ? {} : { rows }),
      }));
  }

  /** Sums over these resources and this time. `bucket`: by time, in steps of that many milliseconds. */
  tallies(
    kind: "effect" | "person" | "relation" | "resource" | "time",
    resources: readonly string[],
    from: number,
    to: number,
    bucket = BUCKET,
  ): Tally[] {
    if (resources.length === 0) return [];
    const key =
      kind === "resource"
        ? "resource"
        : kind === "time"
          ? `CAST(bucket / ${bucket} AS INTEGER) * ${bucket}`
          : "key";
    const stored = kind === "resource" || kind === "time" ? "effect" : kind;
    return this.#sql
      .exec<Tally>(
        `SELECT CAST(${key} AS TEXT) AS key, sum(a) AS a, sum(b) AS b, sum(c) AS c FROM tallies
         WHERE kind = ? AND bucket >= ? AND bucket <= ?
         AND resource IN (SELECT value FROM json_each(?)) GROUP BY 1 ORDER BY sum(a) + sum(b) DESC`,
        stored,
        Math.floor(from / BUCKET) * BUCKET,
        to,
        JSON.stringify(resources),
      )
      .toArray();
  }

  #tally(
    bucket: number,
    resource: string,
    kind: string,
    key: string,
    [a, b, c]: [number, number, number],
  ): void {
    if (a + b + c === 0) return;
    this.#sql.exec(
      `INSERT INTO tallies VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (bucket, resource, kind, key)
       DO UPDATE SET a = a + excluded.a, b = b + excluded.b, c = c + excluded.c`,
      bucket,
      resource,
      kind,
      key,
      a,
      b,
      c,
    );
  }

  #forget(now: number): void {
    this.#sql.exec("DELETE FROM tallies WHERE bucket < ?", now - KEEP);
    this.#sql.exec(
      "DELETE FROM operations WHERE at < (SELECT at FROM operations ORDER BY at DESC LIMIT 1 OFFSET ?)",
      MOST_LINES,
    );
  }
}

function lineCondition({ relation, text, decision }: Search): [string | undefined, (string | number)[]] {
  const conditions: string[] = [];
  const bound: (string | number)[] = [];
  if (text !== undefined) {
    // Not LIKE, whose patterns Durable Objects bound to 50 bytes.
    conditions.push("instr(lower(o.text), lower(?)) > 0");
    bound.push(text);
  }
  if (relation !== undefined) {
    conditions.push("(instr(o.relations, ?) > 0 OR instr(o.relations, ?) > 0)");
    bound.push(`|${relation}|`, `.${relation}|`);
  }
  if (decision !== undefined) {
    conditions.push("o.effect = ?");
    bound.push(decision);
  }
  return [conditions.length === 0 ? undefined : conditions.join(" AND "), bound];
}

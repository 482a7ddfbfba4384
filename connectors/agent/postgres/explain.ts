/**
 * `postgres-explain` channels: the plan of one statement, for whoever has to approve it. On a connection of its
 * own, in a transaction that is read-only and is rolled back, with EXPLAIN and never with ANALYZE.
 */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { PostgresExplainOpen, PostgresExplainQuestion } from "../../../wire/control.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { TunnelChannel } from "../../lib/tunnel-socket.ts";
import type { Log } from "../log.ts";
import { type Connection, reset } from "./connect.ts";
import { type OpenFailure, closeReason, failureFields } from "./failure.ts";
import { type LoggedIn, parameterProblem } from "./login.ts";
import { SimpleQueries } from "./simple-query.ts";

/** Connecting, planning and everything between. */
const TIMEOUT = 10_000;
/** Bytes of a question: SQL as JSON may be twice its length. */
const MAX_QUESTION = 4 * LIMITS.postgres.sql;
/** Planning waits for no lock and takes no longer than this. */
const BEFORE = [
  "BEGIN TRANSACTION READ ONLY",
  "SET LOCAL statement_timeout = '3s'",
  "SET LOCAL lock_timeout = '500ms'",
];

type Open = (
  parameters: Readonly<Record<string, string>>,
  signal: AbortSignal,
) => Promise<Result<{ connection: Connection; login: LoggedIn }, OpenFailure>>;

export async function serveExplain(
  resource: string,
  open: Open,
  channel: TunnelChannel,
  payload: unknown,
  log: Log,
): Promise<void> {
  const asked = PostgresExplainOpen.safeParse(payload);
  if (!asked.success)
    return channel.close({ code: "request_invalid", message: "the request to open is malformed" });
  const problem = parameterProblem(asked.data.parameters);
  if (problem !== undefined) return channel.close({ code: "setting_not_allowed", message: problem });
  const gone = new AbortController();
  channel.listen({ onRemoteClose: () => gone.abort() });
  const signal = AbortSignal.any([gone.signal, AbortSignal.timeout(TIMEOUT)]);
  channel.accept({});
  const question = await readQuestion(channel);
  if (question === undefined) {
    return channel.close({ code: "request_invalid", message: "the question is malformed" });
  }
  const opened = await open(asked.data.parameters, signal);
  if (!opened.ok) {
    log.error("upstream not opened", failureFields(opened.error));
    return channel.close(closeReason(resource, opened.error));
  }
  const { connection, login } = opened.value;
  const plan = await explain(
    new SimpleQueries(connection, login, signal, 2 * LIMITS.approvals.plan),
    question,
  );
  reset(connection);
  if (gone.signal.aborted) return;
  if (!plan.ok) {
    log.info("statement not planned", { reason: plan.error });
    return channel.close({ code: "upstream_lost", message: "the database could not plan the statement" });
  }
  await pipeline(Readable.from([Buffer.from(plan.value, "utf8")]), channel).catch(() => undefined);
}

async function readQuestion(channel: TunnelChannel): Promise<PostgresExplainQuestion | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of channel.iterator({ destroyOnReturn: false })) {
      const bytes = chunk as Buffer;
      length += bytes.length;
      if (length > MAX_QUESTION) return undefined;
      chunks.push(bytes);
    }
    const parsed = PostgresExplainQuestion.safeParse(JSON.parse(Buffer.concat(chunks).toString("utf8")));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}

/** The plan as PostgreSQL's JSON text; the error is in its own words, for the log. */
async function explain(
  queries: SimpleQueries,
  { sql, values }: PostgresExplainQuestion,
): Promise<Result<string, string>> {
  for (const statement of [...BEFORE, ...statementsBefore(sql, values)]) {
    const done = await queries.run(statement);
    if (!done.ok) return err(done.error.detail);
  }
  const rows = await queries.run(explainStatement(sql, values));
  if (!rows.ok) return err(rows.error.detail);
  const plan = rows.value.map(([line]) => line ?? "").join("\n");
  return plan.length > LIMITS.approvals.plan ? err("the plan is too large") : ok(plan);
}

const NAME = "sallyport_explain";

function statementsBefore(sql: string, values: PostgresExplainQuestion["values"]): string[] {
  return values === "unknown" || values.length === 0 ? [] : [`PREPARE ${NAME} AS ${sql}`];
}

function explainStatement(sql: string, values: PostgresExplainQuestion["values"]): string {
  // GENERIC_PLAN (PostgreSQL 16) plans `$1` without knowing its value; older servers refuse it.
  if (values === "unknown") return `EXPLAIN (VERBOSE, GENERIC_PLAN, FORMAT JSON) ${sql}`;
  if (values.length === 0) return `EXPLAIN (VERBOSE, FORMAT JSON) ${sql}`;
  const literals = values.map((value) => (value === null ? "NULL" : literal(value)));
  return `EXPLAIN (VERBOSE, FORMAT JSON) EXECUTE ${NAME}(${literals.join(", ")})`;
}

/** An escape string (PostgreSQL docs 4.1.2.2): means the same whatever standard_conforming_strings is. */
function literal(value: string): string {
  return `E'${value.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`;
}

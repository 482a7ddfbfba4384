/** What commands that show something of the gateway's have in common: one request, then text for people, or JSON. */
import type { z } from "zod";
import { type Result, ok } from "../../wire/result.ts";
import { type Method, openApi } from "./api.ts";
import type { Context } from "./context.ts";
import type { Failure } from "./failure.ts";
import { say, table, toJson } from "./terminal.ts";

export type Listing<T> = {
  readonly schema: z.ZodType<T>;
  readonly path: string;
  readonly columns: readonly string[];
  readonly rows: (answer: T) => readonly (readonly string[])[];
  /** Said where there is no row. */
  readonly empty: string;
  /** What else is to be said to people. */
  readonly after?: (answer: T) => void;
};

/** A table of what there is. */
export async function list<T>(context: Context, listing: Listing<T>): Promise<Result<number, Failure>> {
  const { schema, path, columns, empty, after } = listing;
  const api = await openApi(context);
  if (!api.ok) return api;
  const answer = await api.value.call(schema, "GET", path);
  if (!answer.ok) return answer;
  if (context.json) {
    context.terminal.out(`${toJson(answer.value)}\n`);
    return ok(0);
  }
  const rows = listing.rows(answer.value);
  if (rows.length === 0) say(context.terminal, empty);
  else context.terminal.out(table(columns, rows));
  after?.(answer.value);
  return ok(0);
}

/** One thing, as it is or as it has become. */
export async function show<T>(
  context: Context,
  schema: z.ZodType<T>,
  describe: (answer: T) => string,
  method: Method,
  path: string,
  body?: unknown,
): Promise<Result<number, Failure>> {
  const api = await openApi(context);
  if (!api.ok) return api;
  const answer = await api.value.call(schema, method, path, body);
  if (!answer.ok) return answer;
  context.terminal.out(context.json ? `${toJson(answer.value)}\n` : describe(answer.value));
  return ok(0);
}

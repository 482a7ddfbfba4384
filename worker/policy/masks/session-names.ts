/**
 * The names that masking has to remember of one session: relations that it made itself, which no catalogue
 * that another connection read can hold yet. Plain data. search_path is not among them: what the server reports
 * of it is older than a SET in the same message.
 */
import type { Node } from "../sql/parser.ts";
import { fieldsOf, list, object, strings, text } from "../sql/walk.ts";

export type SessionNames = {
  /** Relations created by this session, as `schema.name` or the bare name. */
  readonly created: readonly string[];
};

export const NO_SESSION_NAMES: SessionNames = { created: [] };

/** How many created names are remembered; the oldest are forgotten first and are then looked up anew. */
const REMEMBERED = 1_000;

/** The names after a statement ran without error. */
export function afterStatement(names: SessionNames, node: Node): SessionNames {
  const select = fieldsOf(node, "SelectStmt");
  const into =
    object(object(select?.["intoClause"])?.["rel"]) ??
    object(object(fieldsOf(node, "CreateTableAsStmt")?.["into"])?.["rel"]) ??
    object(fieldsOf(node, "CreateStmt")?.["relation"]) ??
    object(fieldsOf(node, "CreateSeqStmt")?.["sequence"]) ??
    object(fieldsOf(node, "ViewStmt")?.["view"]);
  if (into !== undefined) {
    const name = createdName(text(into["schemaname"]), text(into["relname"]) ?? "");
    if (names.created.includes(name)) return names;
    return { ...names, created: [...names.created, name].slice(-REMEMBERED) };
  }
  const drop = fieldsOf(node, "DropStmt");
  if (drop !== undefined) {
    const dropped = new Set(
      list(drop["objects"]).map((item) => droppedName(strings(object(fieldsOf(item, "List"))?.["items"]))),
    );
    return { ...names, created: names.created.filter((name) => !dropped.has(name)) };
  }
  // DISCARD TEMP and ALL drop temporary tables; forgetting more than was dropped only costs a look-up.
  if (fieldsOf(node, "DiscardStmt") !== undefined) return { ...names, created: [] };
  return names;
}

/** How a created relation is remembered. A dot in a part cannot make two names one. */
export function createdName(schema: string | undefined, name: string): string {
  return schema === undefined || schema === "pg_temp"
    ? JSON.stringify([name])
    : JSON.stringify([schema, name]);
}

function droppedName(parts: readonly string[]): string {
  return createdName(parts.at(-2), parts.at(-1) ?? "");
}

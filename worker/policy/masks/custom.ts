/** SQL that an administrator wrote: a mask over `value`, or the condition of a row filter. */
import { err, ok, type Result } from "../../../wire/result.ts";
import type { CatalogueColumn, CatalogueRelation } from "../../../wire/postgres/catalogue.ts";
import type { SqlParser } from "../sql/parser.ts";
import { fieldsOf, list, strings, tagged, walk } from "../sql/walk.ts";
import type { ColumnMask } from "../types.ts";
import { Edit } from "./edit.ts";
import type { BuiltMask } from "./expressions.ts";
import { declaredNames, functionProblem, type TrustedNames } from "./functions.ts";

export type { TrustedNames } from "./functions.ts";

/** The word that stands for the column in a mask's expression. */
const VALUE = "value";

export function buildCustomMask(
  column: CatalogueColumn,
  mask: ColumnMask,
  parser: SqlParser,
  trusted: TrustedNames,
): Result<BuiltMask, string> {
  const text = mask.expression ?? "";
  const references: number[] = [];
  const checked = checkExpression(text, parser, trusted, (fields, location) => {
    references.push(location);
    return valueProblem(fields);
  });
  if (!checked.ok) return checked;
  const edit = new Edit(`SELECT (${text})`);
  const at = references.map((location) => edit.tokens[edit.tokenAt(location)]);
  if (edit.lost || at.includes(undefined)) return err("the expression could not be read");
  const places = at.flatMap((token) => (token === undefined ? [] : [{ start: token.start, end: token.end }]));
  places.sort((one, other) => one.start - other.start);
  return ok({
    says: "shown by an expression of its own",
    reads: true,
    mayFail: true,
    expression: (reference) => {
      let out = "";
      let from = "SELECT ".length;
      for (const { start, end } of places) {
        out += edit.text.slice(from, start) + reference;
        from = end;
      }
      return `CAST(${out}${edit.text.slice(from)} AS ${column.baseType})`;
    },
  });
}

function valueProblem(fields: readonly string[]): string | undefined {
  return fields.length === 1 && fields[0] === VALUE
    ? undefined
    : `the expression may name nothing but value, not ${fields.join(".")}`;
}

/**
 * What is wrong with an expression whatever the database holds: for who writes the configuration, before any
 * catalogue is known. Columns, and functions of the database's own, are checked once it is.
 * @param trustedFunctions `schema.name` of functions that the resource trusts
 */
export function expressionProblem(
  kind: "rows" | "mask",
  text: string,
  parser: SqlParser,
  trustedFunctions: readonly string[],
): string | undefined {
  const ofColumn = (fields: readonly string[]): string | undefined =>
    fields.length === 1
      ? undefined
      : `the condition names columns of its own relation, by their bare names, not ${fields.join(".")}`;
  const reference = kind === "mask" ? valueProblem : ofColumn;
  const checked = checkExpression(text, parser, declaredNames(trustedFunctions), reference);
  return checked.ok ? undefined : checked.error;
}

/** Is this a condition over the columns of the relation, with nothing that could tell more? */
export function checkCondition(
  relation: CatalogueRelation,
  condition: string,
  parser: SqlParser,
  trusted: TrustedNames,
): Result<undefined, string> {
  return checkExpression(condition, parser, trusted, (fields) =>
    fields.length === 1 && relation.columns.some((column) => column.name === fields[0])
      ? undefined
      : `the condition may name columns of ${relation.schema}.${relation.name} only, not ${fields.join(".")}`,
  );
}

/** Functions whose answer the client decides, or which change something each time they run. */
const CLIENTS = new Set([
  "current_setting",
  "set_config",
  "nextval",
  "setval",
  "currval",
  "lastval",
  "pg_notify",
  "pg_sleep",
]);

function checkExpression(
  text: string,
  parser: SqlParser,
  trusted: TrustedNames,
  reference: (fields: readonly string[], location: number) => string | undefined,
): Result<undefined, string> {
  const parsed = parser.parse(`SELECT (${text})`);
  if (!parsed.ok) return err(parsed.error.message);
  const select = parsed.value.length === 1 ? fieldsOf(parsed.value[0]?.node, "SelectStmt") : undefined;
  const targets = list(select?.["targetList"]);
  const target = fieldsOf(targets[0], "ResTarget");
  const value = tagged(target?.["val"]);
  // A comment or a bracket in the text could close ours and begin something else.
  const plain = Object.keys(select ?? {}).every(
    (key) => key === "targetList" || key === "limitOption" || key === "op",
  );
  if (targets.length !== 1 || !plain || value === undefined || text.includes("--") || text.includes("/*")) {
    return err("it has to be one expression, without comments");
  }
  let problem: string | undefined;
  const visit = (tag: string, fields: Readonly<Record<string, unknown>>): boolean => {
    if (problem !== undefined) return false;
    if (tag === "ColumnRef") {
      const location = fields["location"];
      problem = reference(strings(fields["fields"]), typeof location === "number" ? location : 0);
    } else if (tag === "SubLink" || tag === "ParamRef" || tag === "?")
      problem = "it may hold no subquery and no parameter";
    else if (tag === "FuncCall") {
      const name = strings(fields["funcname"]);
      problem = functionProblem(name, trusted);
      if (CLIENTS.has(name.at(-1) ?? ""))
        problem ??= `${name.join(".")} gives what the client set or changes state`;
    }
    return true;
  };
  const within = walk(value.tag, value.fields, visit);
  if (!within) return err("it is too deep");
  return problem === undefined ? ok(undefined) : err(problem);
}

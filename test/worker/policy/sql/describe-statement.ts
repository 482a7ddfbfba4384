/**
 * What analysis says of a text, as one line to compare with: the statements' kinds, then each action as
 * `verb reads a, b writes c all rows calls f`, then what else there is. A refusal is its code.
 */
import type { Action } from "../../../../worker/policy/types.ts";
import { analyse, type AnalysedStatement } from "../../../../worker/policy/sql/analyse.ts";
import type { SqlParser } from "../../../../worker/policy/sql/parser.ts";

export function describeStatement(parser: SqlParser, sql: string): string {
  const parsed = parser.parse(sql);
  if (!parsed.ok) return parsed.error.code;
  if (parsed.value.length === 0) return "(nothing)";
  return parsed.value
    .map((statement) => {
      const analysed = analyse(statement);
      return analysed.ok ? describeAnalysed(analysed.value) : analysed.error.code;
    })
    .join(" ;; ");
}

function describeAnalysed(analysed: AnalysedStatement): string {
  const parts = [`${analysed.kind}: ${analysed.actions.map(describeAction).join(" | ")}`];
  const { prepare, execute, deallocate, cursor, setting, transaction } = analysed;
  if (prepare !== undefined) parts.push(`prepare ${prepare.name} {${describeAnalysed(prepare.inner)}}`);
  if (execute !== undefined)
    parts.push(`execute ${execute.name}${execute.explainOnly ? " (explain only)" : ""}`);
  if (deallocate !== undefined) parts.push(`deallocate ${deallocate.name ?? "ALL"}`);
  if (cursor !== undefined) {
    parts.push(`${cursor.op} ${cursor.name ?? "ALL"}${cursor.hold === true ? " (hold)" : ""}`);
  }
  if (setting !== undefined) {
    parts.push(`${setting.op} ${setting.name}${setting.value === undefined ? "" : `=${setting.value}`}`);
  }
  if (transaction !== undefined) parts.push(transaction);
  if (analysed.ddl) parts.push("ddl");
  if (analysed.opaque) parts.push("opaque");
  return parts.join(" + ");
}

function describeAction(action: Action): string {
  if (!action.action.startsWith("postgres:") || !("hasWhere" in action.facts)) return action.action;
  const { reads, writes, hasWhere, functions } = action.facts;
  const part = (word: string, names: readonly string[]): string =>
    names.length === 0 ? "" : ` ${word} ${names.join(", ")}`;
  const verb = action.action.slice("postgres:".length);
  return `${verb}${part("reads", reads)}${part("writes", writes)}${hasWhere ? "" : " all rows"}${part("calls", functions)}`;
}

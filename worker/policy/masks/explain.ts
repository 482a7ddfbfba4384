/**
 * EXPLAIN over masked relations. The planner estimates from statistics on columns, also through a mask that
 * reads one, so here every mask is a constant; and costs grow with the size of a relation, so they are left out.
 */
import { fieldsOf, list, tagged, text } from "../sql/walk.ts";
import type { Tree } from "./edit.ts";
import type { Rewriter } from "./rewriter.ts";

const QUIET = "COSTS false, BUFFERS false";
const KNOWN = new Set([
  "analyze",
  "verbose",
  "costs",
  "buffers",
  "timing",
  "summary",
  "settings",
  "format",
  "generic_plan",
]);

export function explainStatement(rewriter: Rewriter, fields: Tree): void {
  const query = tagged(fields["query"]);
  if (query === undefined) return rewriter.cannot("the statement cannot be read");
  if (query.tag === "ExecuteStmt") {
    rewriter.cannot(
      "EXPLAIN EXECUTE estimates from statistics on masked columns",
      "EXPLAIN the statement itself",
    );
  }
  rewriter.constants = true;
  rewriter.visit(query.tag, query.fields, []);
  if (!rewriter.touches) return;
  const options = list(fields["options"]);
  const names = options.map((option) => text(fieldsOf(option, "DefElem")?.["defname"]) ?? "");
  const unknown = names.find((name) => !KNOWN.has(name));
  if (unknown !== undefined)
    rewriter.cannot(`EXPLAIN with ${unknown} can tell of masked columns`, "leave the option out");
  if (names.includes("analyze")) {
    rewriter.cannot(
      "EXPLAIN ANALYZE counts pages and rows that depend on masked columns",
      "EXPLAIN without ANALYZE shows the plan",
    );
  }
  const quiet = rewriter.around.parser.parse(`EXPLAIN (${QUIET}) SELECT 1`);
  if (!quiet.ok) return rewriter.refuse(quiet.error);
  fields["options"] = [...options, ...list(fieldsOf(quiet.value[0]?.node, "ExplainStmt")?.["options"])];
  const { edit } = rewriter;
  // EXPLAIN is the first word, but for comments.
  if (edit.is(1, "(") && options.length > 0) edit.insert(edit.afterBracket(1) - 1, `, ${QUIET}`);
  else if (edit.is(1, "verbose")) edit.replace(1, 2, `(VERBOSE, ${QUIET})`);
  else edit.insert(1, `(${QUIET}) `);
  rewriter.note(
    "EXPLAIN: masked columns are not read and costs are left out, since both tell of their values",
  );
}

/** COPY: out of a masked relation it becomes COPY of a query; into one, rows are the client's own. */
import { list, object, strings, tagged, type Fields } from "../sql/walk.ts";
import type { Tree } from "./edit.ts";
import { nameOf, type Rewriter } from "./rewriter.ts";
import { parseShape, quote } from "./view.ts";

export function copyStatement(rewriter: Rewriter, fields: Tree): void {
  const query = tagged(fields["query"]);
  if (query !== undefined) {
    rewriter.visit(query.tag, query.fields, []);
    return;
  }
  const rangeVar = object(fields["relation"]) ?? {};
  const resolved = rewriter.resolve(rangeVar, []);
  if (resolved.kind !== "relation") return;
  if (fields["is_from"] === true) {
    copyIn(rewriter, fields, resolved.relation.name);
    return;
  }
  const { relation } = resolved;
  const columns = strings(fields["attlist"]);
  // COPY of a table leaves generated columns and children out.
  const wanted =
    columns.length > 0
      ? columns
      : relation.columns.filter((column) => !column.generated).map(({ name }) => name);
  const applied = rewriter.around.view.applied(relation.oid);
  const sensitive = rewriter.around.sensitive(relation);
  if (!sensitive) return;
  if (
    applied !== undefined &&
    applied.closed === undefined &&
    applied.filters.length === 0 &&
    !wanted.some((name) => applied.columns.has(name))
  ) {
    return;
  }
  const shape = rewriter.shapeFor(relation, true, true);
  if (shape === undefined) return;
  const name = quote(relation.name);
  const text = `SELECT ${wanted.map(quote).join(", ")} FROM (${shape.text}) AS ${name}`;
  const parsed = parseShape(text, rewriter.around.parser);
  if (!parsed.ok) return rewriter.refuse(parsed.error);
  const first = rewriter.edit.tokenAt(rangeVar["location"]);
  let after = rewriter.edit.afterName(first);
  if (list(fields["attlist"]).length > 0) after = rewriter.edit.afterBracket(after);
  // COPY BINARY t is an old form that takes no query.
  if (rewriter.edit.is(first - 1, "binary"))
    rewriter.cannot("COPY BINARY cannot be masked", "write COPY … WITH (FORMAT binary)");
  rewriter.edit.replace(first, after, `(${text})`);
  delete fields["relation"];
  delete fields["attlist"];
  fields["query"] = parsed.value.tree;
  rewriter.note(`COPY ${nameOf(relation)}: copied by a query`);
}

function copyIn(rewriter: Rewriter, fields: Fields, name: string): void {
  const target = object(fields["relation"]) ?? {};
  const resolved = rewriter.resolve(target, []);
  if (resolved.kind === "relation") {
    if (rewriter.around.names.withDescendants(resolved.relation).some((one) => one.triggers))
      rewriter.errorsTell = true;
    if (rewriter.around.sensitive(resolved.relation)) {
      rewriter.errorsTell = true;
      if (fields["whereClause"] !== undefined)
        rewriter.cannot(`COPY INTO ${name} with WHERE could read masked columns`);
    }
  }
  const where = tagged(fields["whereClause"]);
  if (where !== undefined) rewriter.visit(where.tag, where.fields, []);
}

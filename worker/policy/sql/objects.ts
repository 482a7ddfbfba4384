/** Relations that a definition names other than by a RangeVar: as a list of names, alone or with a part's name after. */
import { listName, qualifiedName } from "./names.ts";
import { type Fields, fieldsOf, list, strings } from "./walk.ts";

const RELATIONS: ReadonlySet<unknown> = new Set([
  "OBJECT_FOREIGN_TABLE",
  "OBJECT_INDEX",
  "OBJECT_MATVIEW",
  "OBJECT_SEQUENCE",
  "OBJECT_TABLE",
  "OBJECT_VIEW",
]);

/** The relation's name comes first, then that of the column, trigger, rule or policy. */
const PARTS_OF_RELATIONS: ReadonlySet<unknown> = new Set([
  "OBJECT_COLUMN",
  "OBJECT_POLICY",
  "OBJECT_RULE",
  "OBJECT_TABCONSTRAINT",
  "OBJECT_TRIGGER",
]);

/** The relations among the objects of DROP, COMMENT and SECURITY LABEL. */
export function namedRelations(tag: string, fields: Fields): string[] {
  const type = tag === "DropStmt" ? fields["removeType"] : fields["objtype"];
  const objects = tag === "DropStmt" ? list(fields["objects"]) : [fields["object"]];
  if (tag !== "DropStmt" && tag !== "CommentStmt" && tag !== "SecLabelStmt") return [];
  const names: string[] = [];
  for (const item of objects) {
    const parts = fieldsOf(item, "List")?.["items"];
    if (parts === undefined) continue;
    if (RELATIONS.has(type)) names.push(listName(parts));
    else if (PARTS_OF_RELATIONS.has(type)) names.push(qualifiedName(strings(parts).slice(0, -1)));
  }
  return names;
}

/** What each kind of statement may do over masked relations; a kind that is not listed is refused. */
import { object, type Fields } from "../sql/walk.ts";
import type { Rewriter } from "./rewriter.ts";

/** Visits a whole statement, edits it or refuses it. */
export function walkStatement(rewriter: Rewriter, tag: string, fields: Fields): void {
  switch (tag) {
    case "SelectStmt":
      rewriter.visit(tag, fields, []);
      return;
    case "TransactionStmt":
      return;
    default:
      rewriter.cannot(`statements of this kind (${tag}) cannot be masked`);
  }
  void object;
}

/** Every way in which a statement can call a function: by name, as an operator, by a type, or as a field of a row. */
import { list, strings, type Fields } from "../sql/walk.ts";
import { functionProblem, type TrustedNames } from "./functions.ts";
import { settingCallProblem } from "./settings.ts";

/** Why this node calls something that it must not call; undefined when it does not. */
export function callProblem(tag: string, fields: Fields, trusted: TrustedNames): string | undefined {
  switch (tag) {
    case "FuncCall": {
      const name = strings(fields["funcname"]);
      const args = list(fields["args"]);
      return functionProblem(name, trusted, args.length === 1) ?? settingCallProblem(name, args);
    }
    case "ColumnRef": {
      const names = strings(fields["fields"]);
      return names.length >= 2 ? rowFunction(names.at(-1), trusted) : undefined;
    }
    case "A_Indirection":
      return rowFunction(strings(fields["indirection"]).at(-1), trusted);
    case "A_Expr":
      return operator(fields["name"], trusted);
    case "SubLink":
      return operator(fields["operName"], trusted);
    case "SortBy":
      return operator(fields["useOp"], trusted);
    case "TypeName": {
      const type = strings(fields["names"]).at(-1);
      if (type === undefined || !trusted.types.has(type)) return undefined;
      return `the type ${type} calls a function that this resource does not trust`;
    }
    default:
      return undefined;
  }
}

/** `row.f` calls f when f is no column. */
function rowFunction(name: string | undefined, trusted: TrustedNames): string | undefined {
  if (name === undefined || !trusted.takingRows.has(name)) return undefined;
  return `${name} is a function that this resource does not trust`;
}

function operator(name: unknown, trusted: TrustedNames): string | undefined {
  const written = strings(name).at(-1);
  if (written === undefined || !trusted.operators.has(written)) return undefined;
  return `the operator ${written} calls a function that this resource does not trust`;
}

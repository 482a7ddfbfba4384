/**
 * Lays a statement out for reading: a line for each clause, subqueries indented. Only white space between
 * tokens changes and comments go, so the words are the same ones in the same order; it is shown beside the
 * exact text, never in its place.
 */
import { tokenize } from "../masks/tokens.ts";

const CLAUSES: ReadonlySet<string> = new Set([
  "select",
  "from",
  "where",
  "group",
  "having",
  "order",
  "limit",
  "offset",
  "fetch",
  "returning",
  "values",
  "union",
  "intersect",
  "except",
  "using",
  "set",
  "window",
]);
const JOINS: ReadonlySet<string> = new Set(["join", "left", "right", "full", "inner", "cross", "natural"]);
const CONNECTIVES: ReadonlySet<string> = new Set(["and", "or"]);
/** Before these a clause's word goes on with what stands there: `DELETE FROM`, `DO UPDATE SET`, `WITHIN GROUP`. */
const GOES_ON: Readonly<Record<string, readonly string[]>> = {
  from: ["delete", "distinct"],
  set: ["update"],
  group: ["within"],
  offset: ["with"],
  fetch: ["with"],
  select: ["for"],
};
const JOIN_WORDS: ReadonlySet<string> = new Set([...JOINS, "outer"]);
const SUBQUERY: ReadonlySet<string> = new Set(["select", "with", "values"]);
const LONGEST = 64 << 10;

/** The text laid out; undefined when it is too long to be worth it. */
export function layOut(sql: string): string | undefined {
  if (sql.length > LONGEST) return undefined;
  const tokens = tokenize(sql);
  const out: string[] = [];
  /** For each open bracket, whether it holds a subquery. */
  const brackets: boolean[] = [];
  let betweens = 0;
  const indent = (extra: number): string => `\n${"  ".repeat(brackets.filter(Boolean).length + extra)}`;
  for (const [index, token] of tokens.entries()) {
    const previous = tokens[index - 1];
    const word = token.kind === "word" ? token.value : "";
    const before = previous?.kind === "word" ? previous.value : "";
    const spaced = previous !== undefined && previous.end < token.start;
    const flat = brackets.at(-1) !== false;
    if (token.value === ")" && token.kind === "mark" && brackets.pop() === true) out.push(indent(0));
    else if (previous === undefined || previous.value === ";") out.push("");
    else if (!flat) out.push(spaced ? " " : "");
    else if (CLAUSES.has(word) && GOES_ON[word]?.includes(before) !== true && out.length > 0) {
      out.push(isOpening(previous.value) ? "" : indent(0));
    } else if (JOINS.has(word) && !JOIN_WORDS.has(before)) out.push(indent(1));
    else if (CONNECTIVES.has(word) && !(word === "and" && betweens > 0)) out.push(indent(1));
    else out.push(spaced ? " " : "");
    if (word === "between" && flat) betweens++;
    else if (word === "and" && flat && betweens > 0) betweens--;
    out.push(sql.slice(token.start, token.end));
    if (token.value === "(" && token.kind === "mark") {
      const next = tokens[index + 1];
      const subquery = next?.kind === "word" && SUBQUERY.has(next.value);
      brackets.push(subquery);
      if (subquery) out.push(indent(0));
    } else if (token.value === ";" && token.kind === "mark" && index < tokens.length - 1) out.push("\n");
  }
  return out.join("").replace(/[ \t]+\n/g, "\n");
}

function isOpening(value: string): boolean {
  return value === "(" || value === ";";
}

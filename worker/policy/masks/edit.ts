/**
 * Editing a statement twice over, in its tree and in its text, and the proof that both edits agree: the edited
 * text is parsed and must give exactly the edited tree, locations aside. Whatever was misjudged about the text
 * (a comment in an odd place, a quoting that was not understood) then refuses instead of leaking.
 */
import { refusal, type Refusal } from "../../../wire/refusals.ts";
import { err, ok, type Result } from "../../../wire/result.ts";
import { Offsets, type SqlParser } from "../sql/parser.ts";
import { tokenize, type Token } from "./tokens.ts";

/** A node's fields, which this folder edits in trees of its own. */
export type Tree = Record<string, unknown>;

type Splice = {
  readonly start: number;
  readonly end: number;
  readonly text: string;
  /** What stands for `text` in the proof. */
  readonly proof: string;
  readonly order: number;
};

/**
 * A subquery in brackets, or a CAST, is text of our own that is complete in itself, so the proof looks at the
 * rest of the statement with something short in its place: the grammar gives it the same tree wherever it
 * stands. That halves the cost of a rewriting.
 */
export function standIn(index: number): { readonly text: string; readonly tree: unknown } {
  const sval = `stand-in ${index}`;
  const targetList = [{ ResTarget: { val: { A_Const: { sval: { sval } } } } }];
  return {
    text: `SELECT '${sval}'`,
    tree: { SelectStmt: { targetList, limitOption: "LIMIT_OPTION_DEFAULT", op: "SETOP_NONE" } },
  };
}

export class Edit {
  readonly text: string;
  readonly #offsets: Offsets;
  #tokens: Token[] | undefined;
  readonly #splices: Splice[] = [];
  /** Something of the text could not be found; the statement must be refused. */
  lost = false;

  constructor(text: string) {
    this.text = text;
    this.#offsets = new Offsets(text);
  }

  get changed(): boolean {
    return this.#splices.length > 0;
  }

  get tokens(): readonly Token[] {
    return (this.#tokens ??= tokenize(this.text));
  }

  /** Index of the token that begins at a node's `location` (a UTF-8 byte offset), or -1. */
  tokenAt(location: unknown): number {
    const start = this.#offsets.index(typeof location === "number" ? location : 0);
    let low = 0;
    let high = this.tokens.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const found = this.tokens[middle]?.start ?? 0;
      if (found === start) return middle;
      if (found < start) low = middle + 1;
      else high = middle - 1;
    }
    this.lost = true;
    return -1;
  }

  token(index: number): Token | undefined {
    return this.tokens[index];
  }

  /** Is this token the keyword or mark? */
  is(index: number, value: string): boolean {
    const token = this.tokens[index];
    return (
      token !== undefined &&
      token.value === value &&
      (token.kind === "word" || token.kind === "mark" || token.kind === "operator")
    );
  }

  /** Index after a qualified name that begins at token `index`: `a . "b" . U&"c" UESCAPE '!'`. */
  afterName(index: number): number {
    let at = index;
    for (;;) {
      const token = this.tokens[at];
      if (token?.kind !== "word" && token?.kind !== "quoted") {
        this.lost = true;
        return at;
      }
      at++;
      if (token.kind === "quoted" && this.is(at, "uescape") && this.tokens[at + 1]?.kind === "string")
        at += 2;
      if (!this.is(at, ".")) return at;
      at++;
    }
  }

  /** Index after the bracket that closes the one at token `index`. */
  afterBracket(index: number): number {
    let depth = 0;
    for (let at = index; at < this.tokens.length; at++) {
      if (this.is(at, "(") || this.is(at, "[")) depth++;
      else if (this.is(at, ")") || this.is(at, "]")) depth--;
      if (depth === 0) return at + 1;
    }
    this.lost = true;
    return index;
  }

  /**
   * Index of the first of these words, or of the end of the query, at the bracket depth of token `from`. The
   * FROM of IS DISTINCT FROM is not one.
   */
  endOfClause(from: number, words: readonly string[]): number {
    let at = from;
    while (at < this.tokens.length) {
      if (this.is(at, ")") || this.is(at, "]") || this.is(at, ";")) return at;
      if (words.some((word) => this.is(at, word)) && !(this.is(at, "from") && this.is(at - 1, "distinct")))
        return at;
      at = this.is(at, "(") || this.is(at, "[") ? this.afterBracket(at) : at + 1;
      if (this.lost) return at;
    }
    return at;
  }

  /** Replaces the tokens from `first` to before `after`; in the proof by something that stands for the text. */
  replace(first: number, after: number, text: string, proof: string = text): void {
    const start = this.tokens[first]?.start;
    const end = this.tokens[after - 1]?.end;
    if (start === undefined || end === undefined || end < start) this.lost = true;
    else this.#splices.push({ start, end, text, proof, order: this.#splices.length });
  }

  /** Inserts before the token at `index`, or at the end of the text. */
  insert(index: number, text: string, proof: string = text): void {
    const at = this.tokens[index]?.start ?? this.tokens.at(-1)?.end ?? this.text.length;
    this.#splices.push({ start: at, end: at, text, proof, order: this.#splices.length });
  }

  /** Inserts after the token before `index`. */
  insertAfter(index: number, text: string, proof: string = text): void {
    const at = this.tokens[index - 1]?.end;
    if (at === undefined) this.lost = true;
    else this.#splices.push({ start: at, end: at, text, proof, order: this.#splices.length });
  }

  /** The edited text, if it parses to `expected` and nothing else. */
  finish(parser: SqlParser, expected: unknown): Result<string, Refusal> {
    if (this.lost) return err(cannotEdit());
    const splices = this.#splices.toSorted((a, b) => a.start - b.start || a.end - b.end || a.order - b.order);
    let out = "";
    let proof = "";
    let from = 0;
    for (const splice of splices) {
      if (splice.start < from) return err(cannotEdit());
      const kept = this.text.slice(from, splice.start);
      out += kept + splice.text;
      proof += kept + splice.proof;
      from = splice.end;
    }
    const rest = this.text.slice(from);
    const parsed = parser.parse(proof + rest);
    if (!parsed.ok || parsed.value.length !== 1) return err(cannotEdit());
    return sameTree(parsed.value[0]?.node, expected) ? ok(out + rest) : err(cannotEdit());
  }
}

/** The same for an expression of the form CAST(…). */
export function standInExpression(index: number): { readonly text: string; readonly tree: Tree } {
  const sval = `stand-in ${index}`;
  return { text: `'${sval}'`, tree: { A_Const: { sval: { sval } } } };
}

function cannotEdit(): Refusal {
  return refusal(
    "mask_cannot_rewrite",
    "the statement cannot be rewritten so that masked columns stay hidden",
    {
      hint: "write it in a simpler form, for example with the masked relation in a subquery of its own",
    },
  );
}

/** Positions in the text, which an edit shifts. */
const POSITIONS = new Set([
  "location",
  "stmt_location",
  "stmt_len",
  "list_start",
  "list_end",
  "rexpr_list_start",
  "rexpr_list_end",
]);

/** Are two trees the same, positions in the text aside? */
export function sameTree(one: unknown, other: unknown): boolean {
  if (one === other) return true;
  if (typeof one !== "object" || typeof other !== "object" || one === null || other === null) return false;
  if (Array.isArray(one)) {
    if (!Array.isArray(other) || one.length !== other.length) return false;
    return one.every((item, index) => sameTree(item, other[index]));
  }
  const left = one as Tree;
  const right = other as Tree;
  for (const key in left) {
    if (!POSITIONS.has(key) && !sameTree(left[key], right[key])) return false;
  }
  for (const key in right) {
    if (!POSITIONS.has(key) && !(key in left)) return false;
  }
  return true;
}

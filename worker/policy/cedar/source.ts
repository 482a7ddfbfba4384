/**
 * A light scan of Cedar policy text before and beside Cedar's own parser: bounds that protect the
 * evaluator (text nested deeply makes it overflow its stack), the extent of each policy, and the positions
 * of annotations and entity names, which Cedar's parsed form has lost. It decides nothing: what it lets
 * through is parsed by Cedar itself.
 */
import { utf8 } from "../../../wire/bytes.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { type Result, err, ok } from "../../../wire/result.ts";

export type PolicySource = { readonly file: string; readonly text: string };

/** Something wrong in a configuration file. Line and column count from 1; columns count characters. */
export type ConfigError = {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly message: string;
};

type AnnotationPosition = { readonly name: string; readonly offset: number };

/** An entity named in a policy, such as `Resource::"shop-db"`. */
export type EntityReference = { readonly type: string; readonly id: string; readonly offset: number };

/** One policy's text and where it stands in its file; offsets are in UTF-16 units from the file's start. */
export type PolicyText = {
  readonly offset: number;
  readonly text: string;
  readonly annotations: readonly AnnotationPosition[];
  readonly references: readonly EntityReference[];
};

type ScanProblem = { readonly offset: number; readonly message: string };

// Strings, line comments, names, brackets, `::`, `@`, `;`; anything else is one character.
const TOKEN = /"(?:[^"\\]|\\[^])*"|"|\/\/[^\n\r]*|[A-Za-z_][A-Za-z0-9_]*|::|\s+|[^]/gy;

// `&&` and `||` arrive as two tokens each, which only makes the bound stricter for them.
const OPERATORS: ReadonlySet<string> = new Set(["&", "|", "+", "-", "*", ".", "[", "!"]);

/** Splits a file into policies; refuses what is too long or nested too deeply to be parsed safely. */
export function scanPolicies(text: string): Result<readonly PolicyText[], ScanProblem> {
  const policies: PolicyText[] = [];
  let depth = 0;
  let ifs = 0;
  let operators = 0;
  let start: number | undefined;
  let annotations: AnnotationPosition[] = [];
  let references: EntityReference[] = [];
  let path = "";
  let pathOffset = 0;
  let previous = "";
  TOKEN.lastIndex = 0;
  for (let match = TOKEN.exec(text); match !== null; match = TOKEN.exec(text)) {
    const token = match[0];
    const offset = match.index;
    if (token.startsWith("//") || token.trim() === "") continue;
    if (token === '"') return err({ offset, message: "this string is not closed" });
    start ??= offset;
    if (offset + token.length - start > LIMITS.policy.onePolicy) {
      return err({
        offset: start,
        message: `a policy may have at most ${LIMITS.policy.onePolicy} characters`,
      });
    }
    const isName = /^[A-Za-z_]/.test(token);
    if (token === "(" || token === "[" || token === "{") depth++;
    else if (token === ")" || token === "]" || token === "}") {
      // Cedar's parser goes on after an error, so a surplus of these would hide the depth of what follows.
      if (depth === 0) return err({ offset, message: `this "${token}" closes nothing` });
      depth--;
    } else if (token === "if") ifs++;
    if (OPERATORS.has(token) && ++operators > LIMITS.policy.operators) {
      return err({ offset, message: `a policy may have at most ${LIMITS.policy.operators} operators` });
    }
    if (depth + ifs > LIMITS.policy.nesting) {
      return err({ offset, message: `nested more than ${LIMITS.policy.nesting} deep` });
    }
    if (isName && previous === "@" && depth === 0) {
      annotations.push({ name: token, offset: offset - 1 });
    } else if (isName && previous !== "::") {
      path = token;
      pathOffset = offset;
    } else if (isName) {
      path += `::${token}`;
    } else if (token.startsWith('"') && previous === "::" && path !== "") {
      const id = unescape(token);
      if (id !== undefined) references.push({ type: path, id, offset: pathOffset });
    } else if (token !== "::") {
      path = "";
    }
    previous = token;
    if (token === ";" && depth === 0) {
      policies.push({ offset: start, text: text.slice(start, offset + 1), annotations, references });
      start = undefined;
      ifs = 0;
      operators = 0;
      annotations = [];
      references = [];
    }
  }
  // A rest without `;` is given to Cedar too, whose message about it is better than ours.
  if (start !== undefined) policies.push({ offset: start, text: text.slice(start), annotations, references });
  return ok(policies);
}

// The escapes of Cedar's strings; the rest of them (\x, \u) is written by nobody in an entity's name.
function unescape(token: string): string | undefined {
  const escapes: Record<string, string> = {
    '"': '"',
    "\\": "\\",
    "'": "'",
    n: "\n",
    r: "\r",
    t: "\t",
    "0": "\0",
  };
  let known = true;
  const value = token.slice(1, -1).replace(/\\([^])/g, (_, character: string) => {
    const replacement = escapes[character];
    known &&= replacement !== undefined;
    return replacement ?? "";
  });
  return known ? value : undefined;
}

/** Line and column, both from 1, of a UTF-16 offset. */
export function positionAt(text: string, offset: number): { readonly line: number; readonly column: number } {
  const before = text.slice(0, offset);
  const lineStart = before.lastIndexOf("\n") + 1;
  let line = 1;
  for (let at = before.indexOf("\n"); at !== -1; at = before.indexOf("\n", at + 1)) line++;
  return { line, column: Array.from(before.slice(lineStart)).length + 1 };
}

/** The UTF-16 offset of a UTF-8 byte offset, which is what Cedar's messages carry. */
export function fromByteOffset(text: string, byteOffset: number): number {
  const bytes = utf8(text).subarray(0, byteOffset);
  return new TextDecoder().decode(bytes).length;
}

export function errorAt(source: PolicySource, offset: number, message: string): ConfigError {
  return { file: source.file, ...positionAt(source.text, offset), message };
}

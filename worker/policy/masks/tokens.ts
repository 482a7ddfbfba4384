/**
 * Where the words of a statement begin and end (PostgreSQL docs 4.1). It is used only to find how far the text
 * of a node reaches, whose beginning the parser gave. Nothing is decided by it: every edited text is parsed
 * again and its tree compared with the one that was meant (edit.ts), so a mistake here can only refuse. What comments
 * say is shown to people and decides nothing either.
 */

export type Token = {
  /** Offsets in UTF-16 units. */
  readonly start: number;
  readonly end: number;
  readonly kind: "word" | "quoted" | "string" | "number" | "operator" | "mark";
  /** Words in lower case; marks and operators as written; else empty. */
  readonly value: string;
};

const OPERATOR = new Set("~!@#^&|`?+-*/%<>=");
const SPACE = new Set(" \t\n\r\f\v");

/** The tokens of a text that the parser accepted; comments and white space are between them. */
export function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  while (at < text.length) {
    const skipped = skipSpace(text, at);
    if (skipped !== at) {
      at = skipped;
      continue;
    }
    const token = next(text, at);
    tokens.push(token);
    at = token.end;
  }
  return tokens;
}

/** What stands in the block comments of a text, outside of strings and quoted names, without their delimiters. */
export function blockComments(text: string): string[] {
  const found: string[] = [];
  let at = 0;
  while (at < text.length) {
    const skipped = skipSpace(text, at);
    if (skipped === at) {
      at = next(text, at).end;
      continue;
    }
    if (text.startsWith("/*", at)) {
      // One that is not closed swallows what follows: it is no comment to PostgreSQL either.
      if (skipped >= at + 4 && text.startsWith("*/", skipped - 2))
        found.push(text.slice(at + 2, skipped - 2));
    }
    at = skipped;
  }
  return found;
}

function skipSpace(text: string, at: number): number {
  const character = text.charAt(at);
  if (SPACE.has(character)) return at + 1;
  if (text.startsWith("--", at)) {
    let end = at;
    while (end < text.length && text.charAt(end) !== "\n" && text.charAt(end) !== "\r") end++;
    return end;
  }
  if (!text.startsWith("/*", at)) return at;
  let depth = 1;
  let end = at + 2;
  while (end < text.length && depth > 0) {
    if (text.startsWith("/*", end)) depth++;
    else if (text.startsWith("*/", end)) depth--;
    else {
      end++;
      continue;
    }
    end += 2;
  }
  return end;
}

function next(text: string, at: number): Token {
  const character = text.charAt(at);
  const following = text.charAt(at + 1);
  const lower = character.toLowerCase();
  if (character === '"') return { start: at, end: quotedEnd(text, at + 1, '"'), kind: "quoted", value: "" };
  if (character === "'") return { start: at, end: quotedEnd(text, at + 1, "'"), kind: "string", value: "" };
  if (lower === "u" && following === "&" && text.charAt(at + 2) === '"') {
    return { start: at, end: quotedEnd(text, at + 3, '"'), kind: "quoted", value: "" };
  }
  if (lower === "u" && following === "&" && text.charAt(at + 2) === "'") {
    return { start: at, end: quotedEnd(text, at + 3, "'"), kind: "string", value: "" };
  }
  if (following === "'" && lower === "e")
    return { start: at, end: escapedEnd(text, at + 2), kind: "string", value: "" };
  if (following === "'" && (lower === "b" || lower === "x" || lower === "n")) {
    return { start: at, end: quotedEnd(text, at + 2, "'"), kind: "string", value: "" };
  }
  if (character === "$") return dollar(text, at);
  if (isWordStart(character)) {
    let end = at + 1;
    while (
      end < text.length &&
      (isWordStart(text.charAt(end)) || isDigit(text.charAt(end)) || text.charAt(end) === "$")
    )
      end++;
    return { start: at, end, kind: "word", value: text.slice(at, end).toLowerCase() };
  }
  if (isDigit(character) || (character === "." && isDigit(following))) return number(text, at);
  if (OPERATOR.has(character)) return operator(text, at);
  return { start: at, end: at + 1, kind: "mark", value: character };
}

function isWordStart(character: string): boolean {
  return (
    (character >= "a" && character <= "z") ||
    (character >= "A" && character <= "Z") ||
    character === "_" ||
    character >= "\u0080"
  );
}

function isDigit(character: string): boolean {
  return character >= "0" && character <= "9";
}

function quotedEnd(text: string, from: number, quote: string): number {
  let end = from;
  while (end < text.length) {
    if (text.charAt(end) !== quote) end++;
    else if (text.charAt(end + 1) === quote) end += 2;
    else return end + 1;
  }
  return end;
}

function escapedEnd(text: string, from: number): number {
  let end = from;
  while (end < text.length) {
    if (text.charAt(end) === "\\") end += 2;
    else if (text.charAt(end) !== "'") end++;
    else if (text.charAt(end + 1) === "'") end += 2;
    else return end + 1;
  }
  return end;
}

function dollar(text: string, at: number): Token {
  let tagEnd = at + 1;
  if (isDigit(text.charAt(tagEnd))) {
    while (isDigit(text.charAt(tagEnd))) tagEnd++;
    return { start: at, end: tagEnd, kind: "number", value: "" };
  }
  while (isWordStart(text.charAt(tagEnd)) || (tagEnd > at + 1 && isDigit(text.charAt(tagEnd)))) tagEnd++;
  if (text.charAt(tagEnd) !== "$") return { start: at, end: at + 1, kind: "mark", value: "$" };
  const tag = text.slice(at, tagEnd + 1);
  const close = text.indexOf(tag, tagEnd + 1);
  return { start: at, end: close === -1 ? text.length : close + tag.length, kind: "string", value: "" };
}

function number(text: string, at: number): Token {
  let end = at;
  while (end < text.length) {
    const character = text.charAt(end);
    const lower = character.toLowerCase();
    if (isDigit(character) || (lower >= "a" && lower <= "z") || character === "_") {
      end++;
      const sign = text.charAt(end);
      if (
        lower === "e" &&
        (sign === "+" || sign === "-") &&
        isDigit(text.charAt(end + 1)) &&
        !text.startsWith("0x", at)
      )
        end++;
    } else if (character === "." && text.charAt(end + 1) !== ".") end++;
    else break;
  }
  return { start: at, end, kind: "number", value: "" };
}

function operator(text: string, at: number): Token {
  let end = at;
  while (end < text.length && OPERATOR.has(text.charAt(end))) {
    if (end > at && (text.startsWith("--", end) || text.startsWith("/*", end))) break;
    end++;
  }
  // An operator ends in + or - only if it holds one of these (scan.l): `=-1` is two operators.
  while (end > at + 1 && (text.charAt(end - 1) === "-" || text.charAt(end - 1) === "+")) {
    if ([...text.slice(at, end)].some((character) => "~!@#%^&|`?".includes(character))) break;
    end--;
  }
  return { start: at, end, kind: "operator", value: text.slice(at, end) };
}

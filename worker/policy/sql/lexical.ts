/**
 * What is checked of SQL text before PostgreSQL's parser sees it: its size, that it is text at all, and two
 * things that make that parser slow or overflow it. This is a measuring pass over the lexical structure of
 * PostgreSQL docs 4.1 (scan.l); it decides nothing about what a statement does.
 */
import { LIMITS } from "../../../wire/limits.ts";
import { refusal, type Refusal } from "../../../wire/refusals.ts";
import { err, ok, type Result } from "../../../wire/result.ts";

export type Measure = {
  /** Length in UTF-8 bytes. */
  readonly bytes: number;
  /** Characters that the scanner steps over because of runs of operator characters (see `measure`). */
  readonly operatorRunWork: number;
  /** The same if strings and comments were operators too: what a mistake of this pass could hide. */
  readonly operatorRunBound: number;
  /** Greatest depth of `(` and `[` outside strings and comments. */
  readonly nesting: number;
};

/** Ceiling of `operatorRunBound`: some 0.4 s of scanning, should this pass ever misread a string or comment. */
const OPERATOR_RUN_BOUND = 400 * LIMITS.sql.operatorRunWork;

const isOperatorCharacter = table("~!@#^&|`?+-*/%<>=");
const isIdentifierStart = table("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_");
const isDigit = table("0123456789");

const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const DOUBLE_QUOTE = 0x22;
const DOLLAR = 0x24;
const QUOTE = 0x27;
const OPEN_PARENTHESIS = 0x28;
const CLOSE_PARENTHESIS = 0x29;
const STAR = 0x2a;
const MINUS = 0x2d;
const SLASH = 0x2f;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;

/** Refuses text that is not worth, or not safe, handing to the parser. */
export function checkText(sql: string): Result<Measure, Refusal> {
  // A UTF-16 unit is at least one byte, so this bounds the work of everything below.
  if (sql.length > LIMITS.postgres.sql) return err(tooLong());
  if (sql.includes("\0")) return err(refusal("statement_not_parsed", "the statement holds a NUL character"));
  if (!sql.isWellFormed())
    return err(refusal("statement_not_parsed", "the statement is not valid Unicode text"));
  const found = measure(sql);
  if (found.bytes > LIMITS.postgres.sql) return err(tooLong());
  if (found.operatorRunWork > LIMITS.sql.operatorRunWork || found.operatorRunBound > OPERATOR_RUN_BOUND) {
    return err(refusal("statement_over_limit", "the statement holds too long a run of operator characters"));
  }
  if (found.nesting > LIMITS.sql.depth) {
    return err(
      refusal("statement_over_limit", `the statement nests brackets deeper than ${LIMITS.sql.depth}`),
    );
  }
  return ok(found);
}

function tooLong(): Refusal {
  return refusal("statement_over_limit", `the statement is longer than ${LIMITS.postgres.sql} bytes`, {
    hint: "send it as several statements, or load data with COPY",
  });
}

/**
 * Measures well-formed text without NUL.
 *
 * PostgreSQL's scanner matches the longest run of operator characters, gives back all but the first token in
 * it, and starts again: n characters of `+` cost n * n steps, and so does `/*` repeated, in code and inside a
 * comment. A `--` comment and a string cost no more than their length.
 */
export function measure(sql: string): Measure {
  const length = sql.length;
  let bytes = length;
  let work = 0;
  let bound = 0;
  let run = 0;
  for (let i = 0; i < length; i++) {
    const unit = sql.charCodeAt(i);
    if (unit >= 0x80) bytes += unit < 0x800 ? 1 : unit >= 0xd800 && unit < 0xe000 ? 1 : 2;
    if (isOperatorCharacter[unit]) {
      // Sum of squares, one odd number at a time.
      bound += 2 * run++ + 1;
    } else run = 0;
  }

  let depth = 0;
  let nesting = 0;
  /** End of the run of operator characters that was looked at last. */
  let runEnd = 0;
  const endOfRun = (from: number): number => {
    if (runEnd <= from) {
      runEnd = from;
      while (runEnd < length && isOperatorCharacter[sql.charCodeAt(runEnd)]) runEnd++;
    }
    return runEnd;
  };

  let at = 0;
  while (at < length) {
    const unit = sql.charCodeAt(at);
    if (isOperatorCharacter[unit]) {
      const end = endOfRun(at);
      const comment = commentStart(sql, at, end);
      if (comment !== at) {
        work += (comment - at) * (end - at);
        at = comment;
      } else if (unit === MINUS) {
        at = endOfLine(sql, at);
      } else {
        work += end - at;
        at += 2;
        for (let open = 1; open > 0 && at < length;) {
          const inside = sql.charCodeAt(at);
          const next = sql.charCodeAt(at + 1);
          if (inside === SLASH && next === STAR) {
            work += endOfRun(at) - at;
            open++;
            at += 2;
          } else if (inside === STAR && next === SLASH) {
            open--;
            at += 2;
          } else at++;
        }
      }
    } else if (unit === QUOTE) {
      at = endOfQuoted(sql, at + 1, QUOTE, false);
    } else if (unit === DOUBLE_QUOTE) {
      at = endOfQuoted(sql, at + 1, DOUBLE_QUOTE, false);
    } else if (unit === DOLLAR) {
      at = endOfDollarQuoted(sql, at);
    } else if (isIdentifierStart[unit] || unit >= 0x80) {
      const start = at;
      at = endOfIdentifier(sql, at);
      // Only E'...' reads backslashes; U&'...' keeps them for later and ends where a plain string does.
      if (at === start + 1 && (unit === 0x45 || unit === 0x65) && sql.charCodeAt(at) === QUOTE) {
        at = endOfQuoted(sql, at + 1, QUOTE, true);
      }
    } else {
      if (unit === OPEN_PARENTHESIS || unit === OPEN_BRACKET) {
        if (++depth > nesting) nesting = depth;
      } else if ((unit === CLOSE_PARENTHESIS || unit === CLOSE_BRACKET) && depth > 0) depth--;
      at++;
    }
  }
  return { bytes, operatorRunWork: work, operatorRunBound: bound, nesting };
}

/** Where a comment starts in the run of operator characters [at, end), or `end`. */
function commentStart(sql: string, at: number, end: number): number {
  for (let i = at; i + 1 < end; i++) {
    const unit = sql.charCodeAt(i);
    const next = sql.charCodeAt(i + 1);
    if ((unit === MINUS && next === MINUS) || (unit === SLASH && next === STAR)) return i;
  }
  return end;
}

function endOfLine(sql: string, at: number): number {
  while (at < sql.length && sql.charCodeAt(at) !== NEWLINE && sql.charCodeAt(at) !== CARRIAGE_RETURN) at++;
  return at;
}

/** After the closing quote; a doubled quote is content. An escape string that goes on after a newline keeps its rules. */
function endOfQuoted(sql: string, at: number, quote: number, escapes: boolean): number {
  for (; at < sql.length; at++) {
    const unit = sql.charCodeAt(at);
    if (escapes && unit === BACKSLASH) at++;
    else if (unit === quote) {
      if (sql.charCodeAt(at + 1) === quote) at++;
      else if (!escapes) return at + 1;
      else {
        const next = continuation(sql, at + 1);
        if (next === undefined) return at + 1;
        at = next;
      }
    }
  }
  return sql.length;
}

/** Index of the quote with which a string goes on: whitespace with a newline in it (and line comments) between. */
function continuation(sql: string, at: number): number | undefined {
  let newline = false;
  for (;;) {
    const unit = sql.charCodeAt(at);
    if (unit === NEWLINE || unit === CARRIAGE_RETURN) newline = true;
    else if (newline && unit === MINUS && sql.charCodeAt(at + 1) === MINUS) {
      at = endOfLine(sql, at);
      continue;
    } else if (unit !== 0x20 && unit !== 0x09 && unit !== 0x0b && unit !== 0x0c) {
      return newline && unit === QUOTE ? at : undefined;
    }
    at++;
  }
}

/** `$tag$...$tag$`, or one character on when no dollar quote starts here (`$1` is a parameter). */
function endOfDollarQuoted(sql: string, at: number): number {
  let tagEnd = at + 1;
  const first = sql.charCodeAt(tagEnd);
  if (isIdentifierStart[first] || first >= 0x80) {
    tagEnd++;
    for (let unit = sql.charCodeAt(tagEnd); isTagContinuation(unit); unit = sql.charCodeAt(tagEnd)) tagEnd++;
  }
  if (sql.charCodeAt(tagEnd) !== DOLLAR) return at + 1;
  const delimiter = sql.slice(at, tagEnd + 1);
  const close = sql.indexOf(delimiter, tagEnd + 1);
  return close === -1 ? sql.length : close + delimiter.length;
}

function isTagContinuation(unit: number): boolean {
  return Boolean(isIdentifierStart[unit] || isDigit[unit] || unit >= 0x80);
}

function endOfIdentifier(sql: string, at: number): number {
  for (let unit = sql.charCodeAt(at); isTagContinuation(unit) || unit === DOLLAR; unit = sql.charCodeAt(at))
    at++;
  return at;
}

function table(characters: string): Uint8Array {
  const entries = new Uint8Array(128);
  for (const character of characters) entries[character.charCodeAt(0)] = 1;
  return entries;
}

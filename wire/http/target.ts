/**
 * The one canonicaliser of request targets (RFC 9112 section 3.2, RFC 3986). What policy decides on is, byte for
 * byte, what the upstream gets. Where servers are known to read a target in different ways it is refused rather
 * than repaired; only what every server reads alike is brought into one form:
 *
 *   %7e, %41       an unreserved character needs no encoding (RFC 3986 section 6.2.2.2)   ►  ~, A
 *   %c3%bc         hexadecimal digits in upper case (section 6.2.2.1)                     ►  %C3%BC
 *   " < > [ ] ^ …  what a URI may not hold is encoded, as every client would              ►  %22 …
 *
 * The canonical form is a fixed point of this function and of the WHATWG URL parser.
 */
import { fromUtf8 } from "../bytes.ts";
import { LIMITS } from "../limits.ts";
import { type Refusal, refusal } from "../refusals.ts";
import { type Result, err, ok } from "../result.ts";

export type Target = {
  /** Canonical, begins with a slash. */
  readonly path: string;
  /** Canonical with its question mark, or "". */
  readonly query: string;
  /** The path's segments, decoded. The last is "" for a path that ends in a slash. */
  readonly segments: readonly string[];
  /** Names of the query's parameters, decoded, each once. */
  readonly queryKeys: readonly string[];
};

const UNRESERVED = /^[A-Za-z0-9\-._~]$/;
/** pchar (RFC 3986 section 3.3) without what is handled apart: percent, and the semicolon that servers cut at. */
const PATH_LITERAL = /^[A-Za-z0-9\-._~!$&'()*+,=:@]$/;
/** Without the apostrophe, which the WHATWG parser encodes in a query. */
const QUERY_LITERAL = /^[A-Za-z0-9\-._~!$&()*+,=:@/?]$/;

/** Canonicalises the path and query of a request; `raw` is the request target in origin form. */
export function parseTarget(raw: string): Result<Target, Refusal> {
  if (raw.length > LIMITS.http.target) {
    return err(refusal("over_limit", `path and query may have at most ${LIMITS.http.target} bytes together`));
  }
  if (!raw.startsWith("/")) return refuse("has to begin with a slash (no absolute form)");
  for (const character of raw) {
    const code = character.codePointAt(0) ?? 0;
    if (code <= 0x20 || code === 0x7f) return refuse("holds a space or a control character");
    if (code > 0x7f) return refuse("holds a character that has to be percent-encoded");
  }
  if (raw.includes("#")) return refuse("holds a fragment");
  const mark = raw.indexOf("?");
  const path = canonicalPath(mark < 0 ? raw : raw.slice(0, mark));
  if (!path.ok) return path;
  const query = canonicalQuery(mark < 0 ? "" : raw.slice(mark + 1));
  if (!query.ok) return query;
  return ok({
    path: path.value.path,
    query: mark < 0 ? "" : `?${query.value.query}`,
    segments: path.value.segments,
    queryKeys: query.value.keys,
  });
}

function refuse(what: string): Result<never, Refusal> {
  return err(
    refusal("request_invalid", `the request's target ${what}`, {
      hint: "servers read such a target in different ways, so it is refused; write it plainly",
    }),
  );
}

function canonicalPath(raw: string): Result<{ path: string; segments: string[] }, Refusal> {
  const written = raw.slice(1).split("/");
  if (written.length > LIMITS.http.segments) return refuse("has too many segments");
  const canonical: string[] = [];
  const segments: string[] = [];
  for (const [index, segment] of written.entries()) {
    if (segment === "" && index < written.length - 1) return refuse("has an empty segment");
    if (segment.includes("\\")) return refuse("holds a backslash");
    if (segment.includes(";")) return refuse("holds a semicolon in its path");
    const parsed = canonicalPart(segment, PATH_LITERAL);
    if (!parsed.ok) return parsed;
    const { text, decoded } = parsed.value;
    if (/[/\\;]/.test(decoded)) return refuse("holds an encoded slash, backslash or semicolon");
    if (isDots(decoded)) return refuse("has a dot segment");
    // Some servers fold compatibility characters: U+FF0F becomes a slash, U+2024 a dot.
    const folded = decoded.normalize("NFKC");
    if (folded !== decoded && (/[/\\;%?#]/.test(folded) || isDots(folded)))
      return refuse("holds a character that some servers read as a separator");
    canonical.push(text);
    segments.push(decoded);
  }
  return ok({ path: `/${canonical.join("/")}`, segments });
}

function isDots(segment: string): boolean {
  return /^\.{1,2}$/.test(segment);
}

function canonicalQuery(raw: string): Result<{ query: string; keys: string[] }, Refusal> {
  // HTML 4 had it as a separator of parameters, and some servers still do.
  if (raw.includes(";")) return refuse("holds a semicolon in its query");
  const parts = raw === "" ? [] : raw.split("&");
  if (parts.length > LIMITS.http.queryParameters) return refuse("has too many parameters");
  const canonical: string[] = [];
  const keys = new Set<string>();
  for (const part of parts) {
    const parsed = canonicalPart(part, QUERY_LITERAL);
    if (!parsed.ok) return parsed;
    canonical.push(parsed.value.text);
    const equals = parsed.value.text.indexOf("=");
    const name = equals < 0 ? parsed.value.text : parsed.value.text.slice(0, equals);
    // Canonical text decodes: the check above saw every escape.
    if (part !== "") keys.add(decodeURIComponent(name.replaceAll("+", "%20")));
  }
  return ok({ query: canonical.join("&"), keys: [...keys] });
}

/** One segment or parameter: its canonical text, and what it stands for. */
function canonicalPart(raw: string, literal: RegExp): Result<{ text: string; decoded: string }, Refusal> {
  let text = "";
  const bytes: number[] = [];
  for (let at = 0; at < raw.length; at++) {
    const character = raw.charAt(at);
    if (character !== "%") {
      bytes.push(character.charCodeAt(0));
      text += literal.test(character) ? character : escape(character.charCodeAt(0));
      continue;
    }
    const digits = raw.slice(at + 1, at + 3);
    if (!/^[0-9A-Fa-f]{2}$/.test(digits)) return refuse("has a percent sign that encodes nothing");
    const byte = Number.parseInt(digits, 16);
    at += 2;
    if (byte < 0x20 || byte === 0x7f) return refuse("holds an encoded control character");
    bytes.push(byte);
    const decoded = String.fromCharCode(byte);
    text += byte < 0x80 && UNRESERVED.test(decoded) ? decoded : escape(byte);
  }
  // %252e is a dot for whoever decodes twice; in canonical form its digits stand for themselves.
  if (/%25[0-9A-Fa-f]{2}/.test(text)) return refuse("is encoded twice");
  // Overlong forms, surrogates and truncated sequences are not UTF-8.
  const decoded = fromUtf8(Uint8Array.from(bytes));
  return decoded === undefined ? refuse("is not UTF-8 when it is decoded") : ok({ text, decoded });
}

function escape(byte: number): string {
  return `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}

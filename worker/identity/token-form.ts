/** The form of a JWT, before anything in it is believed. */
import { fromUtf8 } from "../../wire/bytes.ts";

const JSON_TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\]:,]/g;

/**
 * Whether the header or the payload names a member of an object twice (RFC 7515 section 4, RFC 7519 section
 * 4): readers disagree on which counts, so the token means different things to different parties. Also true
 * for parts that are not UTF-8 JSON.
 */
export function hasDuplicateMembers(token: string): boolean {
  const [header = "", payload = ""] = token.split(".");
  return [header, payload].some((part) => {
    const text = decodePart(part);
    return text === undefined || repeatsMember(text);
  });
}

function decodePart(part: string): string | undefined {
  try {
    const binary = atob(part.replaceAll("-", "+").replaceAll("_", "/"));
    return fromUtf8(Uint8Array.from(binary, (character) => character.charCodeAt(0)));
  } catch {
    return undefined;
  }
}

function repeatsMember(json: string): boolean {
  // One set of names for each object that is open; undefined for an array.
  const open: (Set<string> | undefined)[] = [];
  let previous = "";
  for (const [token] of json.matchAll(JSON_TOKEN)) {
    if (token === "{") open.push(new Set());
    else if (token === "[") open.push(undefined);
    else if (token === "}" || token === "]") open.pop();
    else if (token === ":") {
      const names = open.at(-1);
      const name = unescape(previous);
      if (name === undefined || names?.has(name) === true) return true;
      names?.add(name);
    }
    previous = token;
  }
  return false;
}

function unescape(token: string): string | undefined {
  try {
    return String(JSON.parse(token));
  } catch {
    return undefined;
  }
}

/** Base64url without padding (RFC 4648 section 5). */
export function base64url(bytes: Uint8Array): string {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

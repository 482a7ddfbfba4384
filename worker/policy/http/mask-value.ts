/**
 * What a masked field of a JSON text is shown as: the same masks as a column's (worker/policy/masks/expressions.ts),
 * over values that have no declared type. Text stays text and numbers stay numbers, so that a client which checks
 * types goes on working. What a mask has no form for is shown as null.
 */
import type { JsonValue } from "../../../wire/http/json-masker.ts";
import type { FieldMask } from "../types.ts";

/** Below this a part of the value would be most of it. */
const SHORT = 8;

/**
 * JSON text in place of a value.
 *
 * @param hash a keyed digest of a text, hexadecimal
 */
export function maskJsonValue(mask: FieldMask, value: JsonValue, hash: (text: string) => string): string {
  switch (value.kind) {
    case "null":
    case "whole":
      return "null";
    case "boolean":
      return mask.mask === "full" ? "false" : "null";
    case "number":
      return maskNumber(mask, value.text, hash);
    case "string": {
      const shown = maskText(mask, value.text, hash);
      return shown === undefined ? "null" : JSON.stringify(shown);
    }
  }
}

function maskNumber(mask: FieldMask, text: string, hash: (text: string) => string): string {
  const number = Number(text);
  switch (mask.mask) {
    case "full":
      return "0";
    case "last4": {
      // A whole number only, and not one that its last digits give away.
      if (!/^-?\d+$/.test(text) || text.length < SHORT) return "0";
      return String(Number(text.slice(-4)));
    }
    case "round": {
      const step = mask.step ?? 0;
      const rounded = Math.trunc(number / step) * step;
      return Number.isFinite(rounded) ? String(rounded) : "null";
    }
    case "hash":
      return JSON.stringify(hash(text));
    default:
      return "null";
  }
}

function maskText(mask: FieldMask, text: string, hash: (text: string) => string): string | undefined {
  const characters = [...text];
  switch (mask.mask) {
    case "full":
      return "****";
    case "last4":
      return characters.length < SHORT ? "****" : `****${characters.slice(-4).join("")}`;
    case "first1":
      return characters.length < 2 ? "***" : `${characters[0] ?? ""}***`;
    case "email": {
      const at = text.lastIndexOf("@");
      return at < 1 ? "***" : `${characters[0] ?? ""}***${text.slice(at)}`;
    }
    case "hash":
      return hash(text);
    case "date_year": {
      // RFC 3339 and what begins like it.
      const date = /^(\d{4})-\d{2}-\d{2}(.*)$/s.exec(text);
      if (date === null) return undefined;
      return (date[2] ?? "") === "" ? `${date[1]}-01-01` : `${date[1]}-01-01T00:00:00Z`;
    }
    case "null":
    case "round":
      return undefined;
  }
}

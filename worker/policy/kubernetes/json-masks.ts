/** Masks objects in JSON, wherever they stand: alone, in a list, a table, a watch's event or an annotation. */
import { concat, fromUtf8, utf8 } from "../../../wire/bytes.ts";
import { JsonMasker } from "../../../wire/http/json-masker.ts";
import { type Hash, type MaskRules, shownAnnotation, shownJson } from "./masks.ts";

export type MaskFilterOptions = {
  /** Keyed digest of a text, hexadecimal. */
  readonly hash: Hash;
  /** Something was hidden: the mask as `secrets data.*`, for the recording. */
  readonly masked: (what: string) => void;
};

/** An annotation holds an object, whose annotations hold none any more. */
const NESTED = 2;

/** @param lost called when a value that is to be shown was too long to be kept */
export function createJsonMasker(
  rules: MaskRules,
  options: MaskFilterOptions,
  depth: number,
  lost: () => void,
): JsonMasker {
  return new JsonMasker({
    paths: rules.paths,
    replace: (index, value) => {
      if (index === rules.annotations) {
        if (value.kind !== "string") return value.kind === "whole" ? '"{}"' : undefined;
        const shown = shownAnnotation(value.text, (json) =>
          depth < NESTED ? maskJsonText(json, rules, options, depth + 1) : undefined,
        );
        return shown === undefined || shown === value.text ? undefined : JSON.stringify(shown);
      }
      if (index === rules.cells) {
        // A column may print any field of the object.
        return value.kind === "string" ? '"****"' : value.kind === "whole" ? "null" : undefined;
      }
      const shown = shownJson(rules, index, value, options.hash);
      if (shown !== undefined) noteMask(rules, index, options);
      // An object could be kept, a long text could not; which of them it is nobody says.
      else if (value.kind === "whole") lost();
      return shown;
    },
  });
}

export function noteMask(rules: MaskRules, index: number, options: MaskFilterOptions): void {
  const mask = rules.masks[index]?.mask;
  if (mask !== undefined) options.masked(`${mask.resource} ${mask.field}`);
}

/** The masked form of one JSON text; undefined when it is none. */
export function maskJsonText(
  text: string,
  rules: MaskRules,
  options: MaskFilterOptions,
  depth: number,
): string | undefined {
  let whole = true;
  const masker = createJsonMasker(rules, options, depth, () => (whole = false));
  const pushed = masker.push(utf8(text));
  const ended = pushed.ok ? masker.end() : pushed;
  return pushed.ok && ended.ok && whole ? fromUtf8(concat([pushed.value, ended.value])) : undefined;
}

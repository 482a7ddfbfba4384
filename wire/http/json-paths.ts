/**
 * Which fields of a JSON text a set of patterns names. A pattern is
 *
 *   ssn              that key, wherever it is
 *   customer.ssn     that key in a `customer`, wherever that is
 *   $.customer.ssn   that key of the `customer` at the top
 *   $.*.ssn          `*` is any one key
 *
 * Arrays are no step of a path: `$.items.price` is the price of every item, and `items[].price` means the same.
 * Keys compare without regard to case, because some decoders (Go's encoding/json) do not regard it either.
 *
 * All patterns run as one automaton whose states are made when they are met.
 */
import { type Result, err, ok } from "../result.ts";

type Pattern = { readonly anywhere: boolean; readonly steps: readonly string[] };

export type FieldPattern = { readonly text: string; readonly steps: Pattern };

/** A place in a JSON text, as far as the patterns care. */
export type Place = {
  /** Index of the first pattern that names this place, or -1. */
  readonly match: number;
  /** Nothing below can be named. */
  readonly dead: boolean;
  /** It is named, or on the way to something that is. */
  readonly relevant: boolean;
  /** `pattern` and `step` pairs that are under way. */
  readonly active: readonly (readonly [pattern: number, step: number])[];
  readonly next: Map<string, Place>;
};

const MAX_STEPS = 32;
/** Keys remembered at one place: beyond them (keys that are data) each is looked at anew. */
const REMEMBERED = 256;

/** The error says what is wrong with the pattern. */
export function parseFieldPattern(text: string): Result<FieldPattern, string> {
  const anywhere = !text.startsWith("$.");
  const written = (anywhere ? text : text.slice(2)).replaceAll("[]", "").split(".");
  if (written.length > MAX_STEPS) return err(`has more than ${MAX_STEPS} steps`);
  if (written.some((step) => step === "")) return err("has an empty step");
  if (written.every((step) => step === "*")) return err("names every field");
  return ok({ text, steps: { anywhere, steps: written.map(foldKey) } });
}

/** Upper case first: U+017F is an `s` for whoever folds, and has no other lower case. */
export function foldKey(key: string): string {
  return key.toUpperCase().toLowerCase();
}

/** The automaton of these patterns, at the top of a text. */
export class FieldPaths {
  readonly #patterns: readonly Pattern[];
  readonly #places = new Map<string, Place>();
  readonly top: Place;

  constructor(patterns: readonly FieldPattern[]) {
    this.#patterns = patterns.map(({ steps }) => steps);
    this.top = this.#place(
      this.#patterns.map((_, index) => [index, 0] as const),
      -1,
    );
  }

  /** The place of the value under `key`. */
  below(place: Place, key: string): Place {
    if (place.dead) return place;
    const known = place.next.get(key);
    if (known !== undefined) return known;
    const found = this.#step(place, foldKey(key));
    if (place.next.size < REMEMBERED) place.next.set(key, found);
    return found;
  }

  #step(place: Place, key: string): Place {
    const active: (readonly [number, number])[] = [];
    let match = -1;
    for (const [index, step] of place.active) {
      const pattern = this.#patterns[index];
      if (pattern === undefined) continue;
      if (step === 0 && pattern.anywhere) active.push([index, 0]);
      const wanted = pattern.steps[step];
      if (wanted !== "*" && wanted !== key) continue;
      if (step + 1 < pattern.steps.length) active.push([index, step + 1]);
      else if (match < 0 || index < match) match = index;
    }
    return this.#place(active, match);
  }

  #place(active: Place["active"], match: number): Place {
    const id = `${match}|${active.map(([index, step]) => `${index}.${step}`).join(" ")}`;
    let place = this.#places.get(id);
    if (place === undefined) {
      place = {
        match,
        dead: active.length === 0 && match < 0,
        relevant: match >= 0 || active.some(([, step]) => step > 0),
        active,
        next: new Map(),
      };
      this.#places.set(id, place);
    }
    return place;
  }
}

/** Bodies on their way: read whole within a limit, recorded within another, filtered for what may not be seen. */
import { type Hash, createHash } from "node:crypto";
import { concat, fromUtf8, utf8 } from "../../../wire/bytes.ts";
import { JsonMasker } from "../../../wire/http/json-masker.ts";
import { FieldPaths, parseFieldPattern } from "../../../wire/http/json-paths.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import { maskJsonValue } from "../../policy/http/mask-value.ts";
import type { BodyPlan } from "../../policy/http/response.ts";
import {
  DETECTOR_KINDS,
  createDetector,
  flush as flushDetector,
  push as pushDetector,
} from "../../policy/masks/detectors.ts";
import type { FieldMask } from "../../policy/types.ts";
import type { EventBody } from "../recording/chain.ts";
import { toBase64 } from "./postgres-results.ts";

/** The whole body, or a refusal when it is longer than `limit`. */
export async function readBody(
  body: ReadableStream<Uint8Array> | null,
  limit: number,
  what: string,
): Promise<Result<Uint8Array, Refusal>> {
  if (body === null) return ok(new Uint8Array());
  const reader = body.getReader();
  const chunks: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return ok(chunks.length === 0 ? new Uint8Array() : concat(chunks));
    length += value.length;
    if (length > limit) {
      await reader.cancel();
      return err(refusal("over_limit", `${what} may have at most ${limit} bytes of body`));
    }
    chunks.push(value);
  }
}

/**
 * One direction of one request as it goes into the recording: up to a limit as it is, beyond it only its length
 * and a digest over all of it.
 */
export class BodyLog {
  readonly #event: { readonly type: string; readonly operation: number };
  readonly #keep: number;
  readonly #record: (body: EventBody) => void;
  #hash: Hash | undefined;
  #bytes = 0;
  #kept = 0;

  constructor(type: string, operation: number, keep: number, record: (body: EventBody) => void) {
    this.#event = { type, operation };
    this.#keep = keep;
    this.#record = record;
  }

  add(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#hash ??= createHash("sha256");
    this.#hash.update(bytes);
    this.#bytes += bytes.length;
    const piece = bytes.subarray(0, Math.max(0, this.#keep - this.#kept));
    if (piece.length === 0) return;
    this.#kept += piece.length;
    const text = fromUtf8(piece);
    this.#record({ ...this.#event, ...(text === undefined ? { base64: toBase64(piece) } : { text }) });
  }

  /** Undefined for an empty body. Call it once. */
  summary(): { bytes: number; truncated?: true; sha256: string } | undefined {
    if (this.#hash === undefined) return undefined;
    const truncated = this.#bytes > this.#kept ? { truncated: true as const } : {};
    return { bytes: this.#bytes, ...truncated, sha256: this.#hash.digest("hex") };
  }
}

/** Changes a body as it streams by. A refusal ends it: what has not been delivered must not be. */
export type BodyFilter = {
  push(bytes: Uint8Array): Result<Uint8Array, Refusal>;
  end(): Result<Uint8Array, Refusal>;
};

export type FilterOptions = {
  readonly detectors: "off" | "mask" | "block";
  /** Keyed digest of a text, hexadecimal. */
  readonly hash: (text: string) => string;
  /** Something was hidden, for the recording. */
  readonly masked: (what: string) => void;
};

/** The filter that a plan asks for. */
export function createFilter(
  plan: Extract<BodyPlan, { kind: "filter" }>,
  masks: readonly FieldMask[],
  options: FilterOptions,
): BodyFilter {
  const filters: BodyFilter[] = [];
  if (plan.fields !== "none") {
    const json = (): BodyFilter => jsonFilter(masks, options);
    filters.push(plan.fields === "json" ? json() : eventFilter(json));
  }
  if (plan.detect) filters.push(detectFilter(options, plan.json));
  return chain(filters);
}

/** One filter after the other. */
export function chain(filters: readonly BodyFilter[]): BodyFilter {
  const through = (bytes: Uint8Array, from: number): Result<Uint8Array, Refusal> => {
    let passed: Result<Uint8Array, Refusal> = ok(bytes);
    for (const filter of filters.slice(from)) {
      passed = filter.push(passed.value);
      if (!passed.ok) return passed;
    }
    return passed;
  };
  return {
    push: (bytes) => through(bytes, 0),
    end: () => {
      const rest: Uint8Array[] = [];
      for (const [index, filter] of filters.entries()) {
        const ended = filter.end();
        if (!ended.ok) return ended;
        const passed = through(ended.value, index + 1);
        if (!passed.ok) return passed;
        rest.push(passed.value);
      }
      return ok(concat(rest));
    },
  };
}

const UNREADABLE = refusal("mask_value_withheld", "the answer is not the JSON that it says it is", {
  hint: "fields that you may not see could be hidden in it, so it was broken off",
});

/** Making an automaton costs more than using it, and there are few lists of masks. */
const PATHS = new Map<string, FieldPaths>();
const KEPT_PATHS = 100;

function pathsOf(masks: readonly FieldMask[]): FieldPaths {
  const key = JSON.stringify(masks.map(({ field }) => field));
  let paths = PATHS.get(key);
  if (paths === undefined) {
    paths = new FieldPaths(
      masks.map(({ field }) => {
        const parsed = parseFieldPattern(field);
        if (!parsed.ok) throw new Error(`the configuration was not checked: ${parsed.error}`);
        return parsed.value;
      }),
    );
    if (PATHS.size >= KEPT_PATHS) PATHS.clear();
    PATHS.set(key, paths);
  }
  return paths;
}

function jsonFilter(masks: readonly FieldMask[], options: FilterOptions): BodyFilter {
  const masker = new JsonMasker({
    paths: pathsOf(masks),
    replace: (index, value) => {
      const mask = masks[index];
      if (mask === undefined) return "null";
      options.masked(mask.field);
      return maskJsonValue(mask, value, options.hash);
    },
  });
  return {
    push: (bytes) => {
      const pushed = masker.push(bytes);
      return pushed.ok ? pushed : err(UNREADABLE);
    },
    end: () => {
      const ended = masker.end();
      return ended.ok ? ended : err(UNREADABLE);
    },
  };
}

/**
 * Server-sent events (HTML, section 9.2.6): the data of each event is a JSON text of its own. What is not JSON
 * could hold anything, so it ends the stream; comments and events without data pass.
 */
function eventFilter(json: () => BodyFilter): BodyFilter {
  let pending: Uint8Array = new Uint8Array();
  const event = (bytes: Uint8Array): Result<Uint8Array, Refusal> => {
    const text = fromUtf8(bytes);
    if (text === undefined) return err(UNREADABLE);
    const data: string[] = [];
    const other: string[] = [];
    for (const line of text.split(/\r\n|\n|\r/)) {
      const colon = line.indexOf(":");
      const name = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (name.replace(/^\uFEFF/, "") === "data") data.push(value);
      // Of the rest only what has no room for a value of the service's own.
      else if (/^(?:id|retry|event)$/.test(name) && /^[\w.:+/=-]{0,128}$/.test(value)) other.push(line);
      else if (line !== "" && name !== "") return err(UNREADABLE);
    }
    if (data.length === 0) return ok(utf8(other.length === 0 ? ":\n\n" : `${other.join("\n")}\n\n`));
    const filter = json();
    const pushed = filter.push(utf8(data.join("\n")));
    if (!pushed.ok) return pushed;
    const ended = filter.end();
    if (!ended.ok) return ended;
    const masked = fromUtf8(concat([pushed.value, ended.value])) ?? "";
    const lines = [...other, ...masked.split("\n").map((line) => `data: ${line}`)];
    return ok(utf8(`${lines.join("\n")}\n\n`));
  };
  return {
    push: (bytes) => {
      pending = pending.length === 0 ? bytes.slice() : concat([pending, bytes]);
      const out: Uint8Array[] = [new Uint8Array()];
      for (let end = eventEnd(pending); end !== undefined; end = eventEnd(pending)) {
        const filtered = event(pending.subarray(0, end));
        if (!filtered.ok) return filtered;
        out.push(filtered.value);
        pending = pending.subarray(end);
      }
      if (pending.length > LIMITS.http.streamedEvent)
        return err(refusal("over_limit", "an event of the stream is too long to be inspected"));
      pending = pending.slice();
      return ok(concat(out));
    },
    // An event without its blank line is not dispatched by any client.
    end: () => ok(new Uint8Array()),
  };
}

/** Index after the blank line that ends the first event; a lone CR at the end may be half of a CR LF. */
function eventEnd(bytes: Uint8Array): number | undefined {
  let lineStart = 0;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (byte !== 0x0a && byte !== 0x0d) continue;
    if (byte === 0x0d && at + 1 === bytes.length) return undefined;
    const next = byte === 0x0d && bytes[at + 1] === 0x0a ? at + 2 : at + 1;
    if (at === lineStart) return next;
    lineStart = next;
    at = next - 1;
  }
  return undefined;
}

/** Looks for what no mask names (worker/policy/masks/detectors.ts). */
function detectFilter(options: FilterOptions, json: boolean): BodyFilter {
  let detector = createDetector(DETECTOR_KINDS, json ? "json" : "text");
  const take = ({ detector: next, bytes, found }: ReturnType<typeof pushDetector>) => {
    detector = next;
    for (const kind of found) options.masked(`detected ${kind}`);
    if (found.length > 0 && options.detectors === "block") {
      return err(
        refusal("mask_value_withheld", `the answer holds what looks like ${found.join(" and ")}`, {
          hint: "detectors: block is set for this resource, so it was broken off",
        }),
      );
    }
    return ok(bytes);
  };
  return {
    push: (bytes) => take(pushDetector(detector, bytes)),
    end: () => take(flushDetector(detector)),
  };
}

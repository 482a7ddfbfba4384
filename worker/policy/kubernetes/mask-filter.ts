/** Masks an answer as it streams by. What has been refused must not be delivered, nor what would come after it. */
import { stringify } from "yaml";
import { EMPTY, concat, fromUtf8, readUint32, utf8, writeUint32 } from "../../../wire/bytes.ts";
import { toJson } from "../../../wire/kubernetes/value.ts";
import { readYaml } from "../../../wire/kubernetes/yaml.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { KubernetesBodyPlan } from "./answers.ts";
import { type MaskFilterOptions, createJsonMasker, maskJsonText } from "./json-masks.ts";
import type { MaskRules } from "./masks.ts";
import { maskEnvelope, maskWatchEvent } from "./protobuf-masks.ts";

export type MaskFilter = {
  push(bytes: Uint8Array): Result<Uint8Array, Refusal>;
  end(): Result<Uint8Array, Refusal>;
};

const UNREADABLE = refusal("mask_value_withheld", "the cluster's answer is not what it says it is", {
  hint: "fields that you may not see could be hidden in it, so it was broken off",
});

const LOST = refusal(
  "over_limit",
  "a value that you may see is too long to be told apart from one you may not",
  {
    hint: "who may reveal all masked fields of these objects gets them as they are",
  },
);

const TOO_LONG = refusal("over_limit", "the cluster's answer is too long to be masked in this encoding", {
  hint: "ask for JSON, which is masked as it streams",
});

/** The filter that a plan asks for. */
export function createMaskFilter(
  { form, rules }: Extract<KubernetesBodyPlan, { kind: "mask" }>,
  options: MaskFilterOptions,
): MaskFilter {
  switch (form) {
    case "json":
      return jsonFilter(rules, options);
    case "yaml":
      return wholeFilter(LIMITS.kubernetes.yaml, (bytes) => maskYaml(bytes, rules, options));
    case "protobuf":
      return wholeFilter(LIMITS.kubernetes.message, (bytes) => maskEnvelope(bytes, rules, options));
    case "protobufWatch":
      return watchFilter(rules, options);
  }
}

/** One JSON text, or one after the other as a watch has them. */
function jsonFilter(rules: MaskRules, options: MaskFilterOptions): MaskFilter {
  let lost = false;
  const masker = createJsonMasker(rules, options, 0, () => (lost = true));
  const take = (masked: ReturnType<typeof masker.push>): Result<Uint8Array, Refusal> =>
    masked.ok && !lost ? masked : err(lost ? LOST : UNREADABLE);
  return { push: (bytes) => take(masker.push(bytes)), end: () => take(masker.end()) };
}

/** Gathers an answer that cannot be masked piece by piece. */
function wholeFilter(limit: number, mask: (bytes: Uint8Array) => Uint8Array | undefined): MaskFilter {
  const pieces: Uint8Array[] = [];
  let length = 0;
  return {
    push: (bytes) => {
      length += bytes.length;
      if (length > limit) return err(TOO_LONG);
      pieces.push(bytes.slice());
      return ok(EMPTY);
    },
    end: () => {
      const masked = mask(pieces.length === 0 ? EMPTY : concat(pieces));
      return masked === undefined ? err(UNREADABLE) : ok(masked);
    },
  };
}

/** Through JSON, which is masked in one place only, and back. */
function maskYaml(bytes: Uint8Array, rules: MaskRules, options: MaskFilterOptions): Uint8Array | undefined {
  const text = fromUtf8(bytes);
  const value = text === undefined ? undefined : readYaml(text);
  if (value?.ok !== true) return undefined;
  const masked = maskJsonText(toJson(value.value), rules, options, 0);
  // Lines are not folded, so that long values come out as they were.
  return masked === undefined
    ? undefined
    : utf8(stringify(JSON.parse(masked), { version: "1.1", lineWidth: 0, aliasDuplicateObjects: false }));
}

/** Frames of a watch in protobuf: a length in four bytes, then an event (k8s.io/apimachinery/pkg/util/framer). */
function watchFilter(rules: MaskRules, options: MaskFilterOptions): MaskFilter {
  let pending: Uint8Array = EMPTY;
  return {
    push: (bytes) => {
      pending = pending.length === 0 ? bytes.slice() : concat([pending, bytes]);
      const out: Uint8Array[] = [EMPTY];
      let at = 0;
      while (pending.length - at >= 4) {
        const length = readUint32(pending, at);
        if (length > LIMITS.kubernetes.message) return err(TOO_LONG);
        if (pending.length - at - 4 < length) break;
        const event = maskWatchEvent(pending.subarray(at + 4, at + 4 + length), rules, options);
        if (event === undefined) return err(UNREADABLE);
        const header = new Uint8Array(4);
        writeUint32(header, 0, event.length);
        out.push(header, event);
        at += 4 + length;
      }
      pending = pending.slice(at);
      return ok(concat(out));
    },
    end: () => (pending.length === 0 ? ok(EMPTY) : err(UNREADABLE)),
  };
}

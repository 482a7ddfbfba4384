/** Writes that would see behind a mask, or write back what the mask showed. */
import { fromUtf8 } from "../../../wire/bytes.ts";
import { FieldPaths, type Place } from "../../../wire/http/json-paths.ts";
import { type Value, isList, isMap } from "../../../wire/kubernetes/value.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import { fromBase64 } from "../../../wire/ssh/base64.ts";
import { JSON_PATCH, type KubernetesBody, isIndex, pointer } from "./body.ts";
import { parseObjectField } from "./fields.ts";
import type { AppliedMask } from "./masks.ts";

/** @param value what could be read of the body, undefined when nothing could */
export function checkWrite(
  body: KubernetesBody,
  value: Value | undefined,
  masks: readonly AppliedMask[],
): Result<void, Refusal> {
  if (masks.every(({ revealed }) => revealed)) return ok(undefined);
  if (body.type === JSON_PATCH) {
    const checked = checkPatch(value);
    if (!checked.ok) return checked;
  }
  if (value === undefined) return ok(undefined);
  const patterns = masks.flatMap(({ mask }) => {
    const parsed = parseObjectField(mask.field);
    return parsed.ok ? [parsed.value] : [];
  });
  const paths = new FieldPaths(patterns);
  const values = body.type === JSON_PATCH ? patchedAt(value, paths) : [[value, paths.top] as const];
  if (values.some(([each, place]) => holdsMask(each, place, paths))) {
    return err(
      refusal("mask_written_back", "this would write back a value as it is masked for you", {
        hint: "leave out the fields that you do not see, or write their real values",
      }),
    );
  }
  return ok(undefined);
}

/**
 * The operations of a JSON patch run in the API server, on the object as it is: a copy of a masked field into a label
 * comes back in the answer, and a test tells whether a guess is right.
 */
function checkPatch(value: Value | undefined): Result<void, Refusal> {
  const harmless =
    isList(value) &&
    value.every((operation) => {
      const op = isMap(operation) ? operation.get("op") : undefined;
      if (op === "add" || op === "replace" || op === "remove") return true;
      const steps = isMap(operation) ? pointer(operation.get("path")) : undefined;
      return op === "test" && steps?.length === 2 && steps[0] === "metadata" && steps[1] !== "annotations";
    });
  if (harmless) return ok(undefined);
  return err(
    refusal("mask_reads_column", "this patch copies or compares fields, of which some are masked for you", {
      hint: "use a merge patch, or a JSON patch with add, replace and remove only",
    }),
  );
}

function patchedAt(value: Value, paths: FieldPaths): readonly (readonly [Value, Place])[] {
  if (!isList(value)) return [];
  return value.flatMap((operation) => {
    const written = isMap(operation) ? operation.get("value") : undefined;
    const steps = isMap(operation) ? pointer(operation.get("path")) : undefined;
    if (written === undefined || steps === undefined) return [];
    let place = paths.top;
    // An index is no step of a path, but a key may look like one.
    for (const step of steps) if (!isIndex(step) || place.relevant) place = paths.below(place, step);
    return [[written, place] as const];
  });
}

function holdsMask(value: Value, place: Place, paths: FieldPaths): boolean {
  if (place.match >= 0 && typeof value === "string" && looksMasked(value)) return true;
  if (isList(value)) return value.some((item) => holdsMask(item, place, paths));
  return isMap(value) && [...value].some(([key, item]) => holdsMask(item, paths.below(place, key), paths));
}

/** No mask shows more; the longest is an e-mail address. */
const MASKED_LENGTH = 1_024;

/** `***`, `****1234`, `a***`, as they are or in base64. */
function looksMasked(text: string): boolean {
  return /^.?\*\*\*/.test(text) || /^.?\*\*\*/.test(decodedBase64(text));
}

function decodedBase64(text: string): string {
  if (text.length > MASKED_LENGTH) return "";
  const bytes = fromBase64(text);
  return (bytes === undefined ? undefined : fromUtf8(bytes)) ?? "";
}

/**
 * Masks objects in protobuf by rewriting the entries of their maps, without knowing the rest of the message: what is
 * not named passes byte for byte. Only kinds whose maps are known here; an answer of any other kind is not masked,
 * and so not delivered.
 */
import { concat, fromUtf8, utf8 } from "../../../wire/bytes.ts";
import { readEnvelope, readFields, writeEnvelope, writeField } from "../../../wire/kubernetes/protobuf.ts";
import { type MaskFilterOptions, maskJsonText, noteMask } from "./json-masks.ts";
import { type MaskRules, shownAnnotation, shownBytes } from "./masks.ts";

/** New bytes for a field's value; undefined when it cannot be read. */
type Rewrite = (value: Uint8Array) => Uint8Array | undefined;
type Rewrites = ReadonlyMap<number, Rewrite>;

/** An answer in its envelope; undefined when it cannot be masked. */
export function maskEnvelope(
  bytes: Uint8Array,
  rules: MaskRules,
  options: MaskFilterOptions,
): Uint8Array | undefined {
  const envelope = readEnvelope(bytes);
  if (!envelope.ok) return undefined;
  const { kind, raw } = envelope.value;
  // Says what went wrong, never with what is in an object.
  if (kind === "Status") return bytes;
  const rewrites = rewritesOf(kind, rules, options);
  const masked = rewrites === undefined ? undefined : rewrite(raw, rewrites);
  return masked === undefined ? undefined : writeEnvelope({ ...envelope.value, raw: masked });
}

/** A WatchEvent { 1 type, 2 object: RawExtension { 1 raw } }, the object in its own envelope. */
export function maskWatchEvent(
  bytes: Uint8Array,
  rules: MaskRules,
  options: MaskFilterOptions,
): Uint8Array | undefined {
  const raw: Rewrite = (object) => maskEnvelope(object, rules, options);
  return rewrite(bytes, new Map([[2, (extension: Uint8Array) => rewrite(extension, new Map([[1, raw]]))]]));
}

function rewritesOf(kind: string, rules: MaskRules, options: MaskFilterOptions): Rewrites | undefined {
  const metadata: Rewrite = (value) =>
    rewrite(value, new Map([[12, (entry: Uint8Array) => maskAnnotation(entry, rules, options)]]));
  const map =
    (field: string): Rewrite =>
    (entry) =>
      maskEntry(entry, field, rules, options);
  const items = (object: Rewrites): Rewrites => new Map([[2, (item: Uint8Array) => rewrite(item, object)]]);
  const secret = new Map([
    [1, metadata],
    [2, map("data")],
    [4, map("stringData")],
  ]);
  const configMap = new Map([
    [1, metadata],
    [2, map("data")],
    [3, map("binaryData")],
  ]);
  const partial = new Map([[1, metadata]]);
  switch (kind) {
    case "Secret":
      return secret;
    case "SecretList":
      return items(secret);
    case "ConfigMap":
      return configMap;
    case "ConfigMapList":
      return items(configMap);
    case "PartialObjectMetadata":
      return partial;
    case "PartialObjectMetadataList":
      return items(partial);
    case "TokenRequest": {
      const token: Rewrite = (value) => maskValue(value, "status", "token", rules, options);
      return new Map([
        [1, metadata],
        [3, (status: Uint8Array) => rewrite(status, new Map([[1, token]]))],
      ]);
    }
    default:
      return undefined;
  }
}

/** The message with these fields rewritten, however often each is there. */
function rewrite(bytes: Uint8Array, rewrites: Rewrites): Uint8Array | undefined {
  const fields = readFields(bytes);
  if (!fields.ok) return undefined;
  const parts: Uint8Array[] = [new Uint8Array()];
  for (const { number, value, delimited, whole } of fields.value) {
    const change = rewrites.get(number);
    if (change === undefined) {
      parts.push(whole);
      continue;
    }
    const changed = delimited && typeof value !== "number" ? change(value) : undefined;
    if (changed === undefined) return undefined;
    parts.push(writeField(number, changed));
  }
  return concat(parts);
}

/** An entry of a map { 1 key, 2 value }; what else it holds is dropped, as Go drops it. */
function readEntry(entry: Uint8Array): { key: Uint8Array; value: Uint8Array } | undefined {
  const fields = readFields(entry);
  if (!fields.ok) return undefined;
  const found = { key: new Uint8Array(), value: new Uint8Array() };
  for (const { number, value, delimited } of fields.value) {
    if (number > 2) continue;
    if (!delimited || typeof value === "number") return undefined;
    // The last one counts.
    if (number === 1) found.key = value.slice();
    else found.value = value.slice();
  }
  return found;
}

function maskEntry(
  bytes: Uint8Array,
  field: string,
  rules: MaskRules,
  options: MaskFilterOptions,
): Uint8Array | undefined {
  const entry = readEntry(bytes);
  const key = entry === undefined ? undefined : fromUtf8(entry.key);
  if (entry === undefined || key === undefined) return undefined;
  return concat([
    writeField(1, entry.key),
    writeField(2, maskValue(entry.value, field, key, rules, options)),
  ]);
}

function maskValue(
  value: Uint8Array,
  field: string,
  key: string,
  rules: MaskRules,
  options: MaskFilterOptions,
): Uint8Array {
  const place = rules.paths.below(rules.paths.below(rules.paths.top, field), key);
  const applied = rules.masks[place.match];
  if (applied === undefined || applied.revealed) return value;
  noteMask(rules, place.match, options);
  return shownBytes(applied.mask, value, options.hash);
}

function maskAnnotation(
  bytes: Uint8Array,
  rules: MaskRules,
  options: MaskFilterOptions,
): Uint8Array | undefined {
  const entry = readEntry(bytes);
  const text = entry === undefined ? undefined : fromUtf8(entry.value);
  if (entry === undefined || text === undefined) return undefined;
  const shown = shownAnnotation(text, (json) => maskJsonText(json, rules, options, 1));
  return concat([writeField(1, entry.key), writeField(2, shown === undefined ? entry.value : utf8(shown))]);
}

/** Which fields of which objects are masked for whom, and what a masked value is shown as. */
import { fromUtf8, utf8 } from "../../../wire/bytes.ts";
import type { JsonValue } from "../../../wire/http/json-masker.ts";
import { FieldPaths, type FieldPattern } from "../../../wire/http/json-paths.ts";
import { fromBase64, toBase64 } from "../../../wire/ssh/base64.ts";
import { maskJsonValue } from "../http/mask-value.ts";
import type { KubernetesMask, KubernetesOptions } from "../types.ts";
import { parseObjectField } from "./fields.ts";
import { type RequestInfo, qualifiedResource } from "./request-info.ts";

/** What nobody sees without `reveal`, whatever the configuration says. */
export const DEFAULT_MASKS: readonly KubernetesMask[] = [
  { resource: "secrets", field: "data.*", mask: "full" },
  { resource: "secrets", field: "stringData.*", mask: "full" },
  { resource: "serviceaccounts/token", field: "status.token", mask: "full" },
];

/** A mask as it meets one principal. A revealed one is kept where it stands before others that name the same field. */
export type AppliedMask = { readonly mask: KubernetesMask; readonly revealed: boolean };

/** Verbs whose answers are objects. */
const ANSWERED = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

/**
 * The masks on what this request is about, in the order in which they count. None when nothing is hidden.
 *
 * @param reveals whether policy permits `reveal` with this relation and column (the mask's field). The relation is the
 *   mask's resource (`secrets`), in the request's namespace (`shop/secrets`), or its one object (`shop/secrets/db`)
 */
export function appliedMasks(
  options: KubernetesOptions,
  info: RequestInfo,
  reveals: (relation: string, column: string) => boolean,
): readonly AppliedMask[] {
  // A log is text, which detectors look through.
  if (info.resource === "" || info.subresource === "log" || !ANSWERED.includes(info.verb)) return [];
  const applied = [...options.masks, ...DEFAULT_MASKS]
    .filter(({ resource }) => isAbout(resource, info))
    .map((mask) => ({
      mask,
      revealed: relationsOf(mask, info).some((relation) => reveals(relation, mask.field)),
    }));
  return applied.slice(0, applied.findLastIndex(({ revealed }) => !revealed) + 1);
}

/** An answer to a request in one namespace has objects of that namespace only, and one by name has that one. */
function relationsOf({ resource }: KubernetesMask, info: RequestInfo): readonly string[] {
  const { namespace, name, group, verb } = info;
  if (namespace === "") return [resource];
  const inNamespace = `${namespace}/${resource}`;
  // The name in a field selector: an extension's own API server need not heed it.
  const selected = name !== "" && (group === "" || (verb !== "list" && verb !== "watch"));
  return selected ? [resource, inNamespace, `${inNamespace}/${name}`] : [resource, inNamespace];
}

function isAbout(resource: string, info: RequestInfo): boolean {
  const slash = resource.indexOf("/");
  const [name, subresource] =
    slash < 0 ? [resource, undefined] : [resource.slice(0, slash), resource.slice(slash + 1)];
  // Most subresources answer with the whole object.
  if (subresource !== undefined && subresource !== info.subresource) return false;
  return name === "*" || name === qualifiedResource(info);
}

/** Fields that hold nothing but the data of Secrets, ConfigMaps and tokens, which no column of a table shows. */
const DATA_FIELDS = [
  ["data", 2],
  ["stringdata", 2],
  ["binarydata", 2],
  ["status", 2],
] as const;

/** Masks made ready for answers to requests of one kind. */
export type MaskRules = {
  readonly masks: readonly AppliedMask[];
  readonly paths: FieldPaths;
  /** Index in `paths` of annotations' values, and of a table's cells. */
  readonly annotations: number;
  readonly cells: number;
  /** For each mask: its values are base64. */
  readonly base64: readonly boolean[];
  /** Everything named is in fields that tables do not show and whose place in protobuf is known. */
  readonly dataOnly: boolean;
};

export function maskRules(masks: readonly AppliedMask[], info: RequestInfo): MaskRules {
  const patterns = masks.map(({ mask }) => mustParse(mask.field));
  const resource = qualifiedResource(info);
  const dataOnly = ["secrets", "configmaps", "serviceaccounts"].includes(resource) && patterns.every(isData);
  const rows = dataOnly ? [] : [["rows", "cells"]];
  const extra = [["metadata", "annotations", "*"], ...rows].map((steps) => ({
    text: steps.join("."),
    steps: { anywhere: true, steps },
  }));
  return {
    masks,
    paths: new FieldPaths([...patterns, ...extra]),
    annotations: patterns.length,
    cells: dataOnly ? -1 : patterns.length + 1,
    base64: patterns.map(({ steps: { steps } }) =>
      resource === "secrets"
        ? steps[0] !== "stringdata"
        : resource === "configmaps" && steps[0] === "binarydata",
    ),
    dataOnly,
  };
}

function isData({ steps: { steps } }: FieldPattern): boolean {
  return DATA_FIELDS.some(([field, length]) => steps[0] === field && steps.length === length);
}

function mustParse(field: string): FieldPattern {
  const parsed = parseObjectField(field);
  if (!parsed.ok) throw new Error(`the configuration was not checked: ${parsed.error}`);
  return parsed.value;
}

/** Keyed digest of a text, hexadecimal. */
export type Hash = (text: string) => string;

/** JSON in place of a value that a mask names; undefined when it is shown. */
export function shownJson(rules: MaskRules, index: number, value: JsonValue, hash: Hash): string | undefined {
  const applied = rules.masks[index];
  if (applied === undefined) return "null";
  if (applied.revealed) return undefined;
  if (rules.base64[index] !== true) return maskJsonValue(applied.mask, value, hash);
  // A client that expects bytes fails at anything but base64.
  const bytes = value.kind === "string" ? fromBase64(value.text) : undefined;
  if (bytes === undefined && value.kind !== "whole") return maskJsonValue(applied.mask, value, hash);
  return JSON.stringify(toBase64(shownBytes(applied.mask, bytes, hash)));
}

/** Bytes in place of bytes; `undefined` ones are too long to be looked at. */
export function shownBytes(mask: KubernetesMask, bytes: Uint8Array | undefined, hash: Hash): Uint8Array {
  const text = bytes === undefined ? undefined : fromUtf8(bytes);
  const shown: unknown =
    text === undefined
      ? // What is no text has no last characters and no e-mail address.
        mask.mask === "null"
        ? null
        : "****"
      : JSON.parse(maskJsonValue(mask, { kind: "string", text }, hash));
  return utf8(typeof shown === "string" ? shown : "");
}

/** An annotation's value as it is shown beside masked fields: JSON in it is masked by `nested`. */
export function shownAnnotation(
  text: string,
  nested: (json: string) => string | undefined,
): string | undefined {
  // kubectl's last-applied-configuration, kapp's original and their kin repeat the object as JSON.
  if (/^\s*[[{]/.test(text)) return nested(text) ?? "{}";
  // Others keep it packed (gzip, zip, zlib in base64) or as YAML.
  if (/^\s*(?:H4sI|UEsDB|eJ|eN)/.test(text) || /[\n\r]/.test(text.trim())) return "****";
  return undefined;
}

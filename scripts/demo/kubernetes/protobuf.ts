/**
 * Bodies in protobuf, which kubectl 1.33 and newer send for kinds they know. The messages are those of the
 * generated.proto files of k8s.io/api and k8s.io/apimachinery 0.33 (recorded/messages.json): field number → name and
 * type, where `*` is repeated, `+` embedded (its fields are those of the message around it), `map:` a map of strings.
 */
import { readFileSync } from "node:fs";
import { type ProtobufField, readEnvelope, readFields } from "../../../wire/kubernetes/protobuf.ts";
import type { Fields } from "./objects.ts";
import { badRequest } from "./status.ts";

const MESSAGES = JSON.parse(
  readFileSync(new URL("recorded/messages.json", import.meta.url), "utf8"),
) as Readonly<Record<string, Readonly<Record<string, readonly [name: string, type: string]>>>>;

/**
 * Go writes numbers and booleans that are no pointers also where they are zero, which JSON leaves out. These are
 * pointers: when they are there, somebody said zero.
 */
const POINTERS = new Set([
  "allowPrivilegeEscalation",
  "automountServiceAccountToken",
  "enableServiceLinks",
  "gracePeriodSeconds",
  "immutable",
  "optional",
  "orphanDependents",
  "privileged",
  "readOnlyRootFilesystem",
  "replicas",
  "revisionHistoryLimit",
  "runAsGroup",
  "runAsNonRoot",
  "runAsUser",
  "shareProcessNamespace",
  "terminationGracePeriodSeconds",
]);

/** An object as it would be in JSON. Throws a StatusError when it cannot be read. */
export function objectFromProtobuf(bytes: Uint8Array): Fields {
  const envelope = readEnvelope(bytes);
  if (!envelope.ok) throw badRequest(`the object provided is unrecognized: ${envelope.error}`);
  const { apiVersion, kind, raw } = envelope.value;
  const group = apiVersion.includes("/") ? (apiVersion.split("/")[0] ?? "").split(".")[0] : "core";
  const name = kind === "DeleteOptions" ? "apis.meta.v1.DeleteOptions" : `${group}.v1.${kind}`;
  if (!Object.hasOwn(MESSAGES, name)) throw badRequest(`no kind "${kind}" is registered for "${apiVersion}"`);
  return { apiVersion, kind, ...message(name, raw) };
}

function message(type: string, bytes: Uint8Array): Fields {
  const result: Fields = {};
  for (const field of fieldsOf(bytes)) {
    const [name, of] = MESSAGES[type]?.[String(field.number)] ?? [];
    if (name === undefined || of === undefined) continue;
    if (of.endsWith("+")) Object.assign(result, message(of.slice(0, -1), bytesOf(field)));
    else if (of.startsWith("map:")) addEntry(result, name, of.slice(4), bytesOf(field));
    else if (of.endsWith("*")) {
      const list = (result[name] ??= []) as unknown[];
      list.push(single(of.slice(0, -1), field));
    } else {
      const value = single(of, field);
      if (isZero(value) && !POINTERS.has(name)) continue;
      result[name] = value;
    }
  }
  return result;
}

function addEntry(result: Fields, name: string, type: string, bytes: Uint8Array): void {
  const map = (result[name] ??= {}) as Fields;
  const fields = fieldsOf(bytes);
  const key = fields.find(({ number }) => number === 1);
  const value = fields.find(({ number }) => number === 2);
  const text = key === undefined ? "" : String(single("string", key));
  Object.defineProperty(map, text, {
    value: value === undefined ? "" : single(type, value),
    enumerable: true,
    configurable: true,
    writable: true,
  });
}

function single(type: string, field: ProtobufField): unknown {
  switch (type) {
    case "string":
      return Buffer.from(bytesOf(field)).toString("utf8");
    case "bytes":
      return Buffer.from(bytesOf(field)).toString("base64");
    case "bool":
      return field.value !== 0;
    case "int32":
    case "int64":
      // Negative ones take ten bytes; none of them means anything here but "less than zero".
      return typeof field.value === "number" && field.value < 2 ** 63 ? field.value : -1;
    case "api.resource.Quantity":
      return message1(field, "string") ?? "0";
    case "apis.meta.v1.Time":
    case "apis.meta.v1.MicroTime": {
      const seconds = message1(field, "int64");
      return typeof seconds === "number" ? new Date(seconds * 1000).toISOString().replace(".000", "") : {};
    }
    case "util.intstr.IntOrString": {
      const fields = fieldsOf(bytesOf(field));
      const isText = fields.some(({ number, value }) => number === 1 && value === 1);
      const found = fields.find(({ number }) => number === (isText ? 3 : 2));
      return found === undefined ? 0 : single(isText ? "string" : "int32", found);
    }
    default:
      return message(type, bytesOf(field));
  }
}

function message1(field: ProtobufField, type: string): unknown {
  const found = fieldsOf(bytesOf(field)).find(({ number }) => number === 1);
  return found === undefined ? undefined : single(type, found);
}

function isZero(value: unknown): boolean {
  if (value === "" || value === 0 || value === false) return true;
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

function fieldsOf(bytes: Uint8Array): readonly ProtobufField[] {
  const fields = readFields(bytes);
  if (!fields.ok) throw badRequest(`the object provided is unrecognized: ${fields.error}`);
  return fields.value;
}

function bytesOf({ value }: ProtobufField): Uint8Array {
  if (typeof value === "number") throw badRequest("the object provided is unrecognized: wrong wire type");
  return value;
}

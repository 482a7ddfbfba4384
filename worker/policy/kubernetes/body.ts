/**
 * What the body of a request asks for. The facts are found wherever they stand in the object, whatever its kind: a
 * pod's template is in a Deployment, a CronJob and in many custom resources, and a patch may begin anywhere.
 *
 * What cannot be read without doubt is unreadable, which is a fact of its own. The API server may well read it: two
 * decoders that disagree are the way past a policy.
 */
import { fromUtf8 } from "../../../wire/bytes.ts";
import { readCbor } from "../../../wire/kubernetes/cbor.ts";
import { readJson } from "../../../wire/kubernetes/json.ts";
import { type Unreadable, type Value, type ValueMap, isList, isMap } from "../../../wire/kubernetes/value.ts";
import { readYaml } from "../../../wire/kubernetes/yaml.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { KubernetesBodyFacts } from "../types.ts";
import { readObject } from "./protobuf-object.ts";
import type { RequestInfo } from "./request-info.ts";

export const JSON_PATCH = "application/json-patch+json";

/** A body as it came. */
export type KubernetesBody = {
  /** Media type in lower case without parameters, "" for none. */
  readonly type: string;
  /** Content-Encoding, "identity" or "" for none. */
  readonly encoding: string;
  readonly bytes: Uint8Array;
};

/** The object, patch or options in a body. */
export function readKubernetesBody(
  info: Pick<RequestInfo, "verb" | "resource" | "group" | "subresource">,
  { type, encoding, bytes }: KubernetesBody,
): Result<Value, Unreadable> {
  // Which encodings a server takes in requests is a matter of its version and of what is in front of it.
  if (encoding !== "" && encoding !== "identity") return err("unsupported");
  if (bytes.length > LIMITS.kubernetes.body) return err("over_limit");
  switch (type) {
    // The server takes its first serializer for a body without a type.
    case "":
    case "application/json":
    case "application/merge-patch+json":
    case "application/strategic-merge-patch+json":
    case JSON_PATCH:
      return withText(bytes, readJson);
    case "application/yaml":
    case "application/apply-patch+yaml":
      return withText(bytes, (text) => {
        // kubectl writes JSON here, and the YAML that is no JSON is the slow way.
        const json = readJson(text);
        return json.ok || json.error === "duplicate" ? json : readYaml(text);
      });
    case "application/cbor":
    case "application/apply-patch+cbor":
      return readCbor(bytes);
    case "application/vnd.kubernetes.protobuf":
      return readObject(info, bytes);
    default:
      return err("unsupported");
  }
}

function withText(
  bytes: Uint8Array,
  read: (text: string) => Result<Value, Unreadable>,
): Result<Value, Unreadable> {
  const text = fromUtf8(bytes);
  return text === undefined ? err("malformed") : read(text);
}

type Found = {
  privileged: boolean;
  readonly hostNamespaces: Set<string>;
  readonly hostPaths: Set<string>;
  readonly images: Set<string>;
  readonly capabilities: Set<string>;
  readonly serviceAccounts: Set<string>;
  readonly secrets: Set<string>;
  readonly roleRefs: Set<string>;
};

/** What an object or a merge patch asks for, or a JSON patch (RFC 6902). */
export function bodyFacts(value: Value, type: string): Result<KubernetesBodyFacts, Unreadable> {
  const found: Found = {
    privileged: false,
    hostNamespaces: new Set(),
    hostPaths: new Set(),
    images: new Set(),
    capabilities: new Set(),
    serviceAccounts: new Set(),
    secrets: new Set(),
    roleRefs: new Set(),
  };
  if (type === JSON_PATCH) {
    const patched = patchedValues(value);
    if (!patched.ok) return patched;
    for (const each of patched.value) collect(each, found);
  } else collect(value, found);
  const [roleRef = "", other] = found.roleRefs;
  // One binding gives one role.
  if (other !== undefined) return err("duplicate");
  const kind = isMap(value) ? value.get("kind") : undefined;
  return ok({
    kind: typeof kind === "string" ? kind : "",
    privileged: found.privileged,
    hostNamespaces: [...found.hostNamespaces],
    hostPaths: [...found.hostPaths],
    images: [...found.images],
    capabilities: [...found.capabilities],
    serviceAccounts: [...found.serviceAccounts],
    secrets: [...found.secrets],
    roleRef,
  });
}

const HOST_NAMESPACES = new Map([
  ["hostNetwork", "network"],
  ["hostPID", "pid"],
  ["hostIPC", "ipc"],
]);

/** Keys under which the name of a Secret stands in `name`. */
const SECRET_REFERENCES = new Set([
  "secretKeyRef",
  "secretRef",
  "secret",
  "nodePublishSecretRef",
  "nodeStageSecretRef",
  "nodeExpandSecretRef",
  "controllerPublishSecretRef",
  "controllerExpandSecretRef",
]);

function collect(value: Value, found: Found): void {
  if (isList(value)) {
    for (const item of value) collect(item, found);
    return;
  }
  if (!isMap(value)) return;
  for (const [key, item] of value) {
    look(key, item, found);
    collect(item, found);
  }
}

function look(key: string, item: Value, found: Found): void {
  const namespace = HOST_NAMESPACES.get(key);
  if (namespace !== undefined && isTrue(item)) found.hostNamespaces.add(namespace);
  switch (key) {
    case "privileged":
    // The same for Windows.
    case "hostProcess":
      if (isTrue(item)) found.privileged = true;
      break;
    case "hostPath":
    case "local":
      addText(found.hostPaths, isMap(item) ? item.get("path") : undefined, plainPath);
      break;
    case "image":
      addText(found.images, isMap(item) ? item.get("reference") : item);
      break;
    case "capabilities":
      for (const name of textsIn(isMap(item) ? item.get("add") : undefined)) found.capabilities.add(name);
      break;
    case "serviceAccountName":
    case "serviceAccount":
      addText(found.serviceAccounts, item);
      break;
    case "secretName":
      addText(found.secrets, item);
      break;
    case "roleRef":
      if (isMap(item)) addRole(item, found);
      break;
    default:
      if (SECRET_REFERENCES.has(key)) addText(found.secrets, isMap(item) ? item.get("name") : undefined);
  }
}

function addRole(reference: ValueMap, found: Found): void {
  const [kind, name] = [reference.get("kind"), reference.get("name")];
  if (typeof kind === "string" || typeof name === "string")
    found.roleRefs.add(`${typeof kind === "string" ? kind : ""}/${typeof name === "string" ? name : ""}`);
}

/** YAML 1.1 has more words for it, and which of them count is up to the parser. */
function isTrue(value: Value): boolean {
  return value === true || (typeof value === "string" && /^(?:true|yes|on|y)$/i.test(value));
}

function addText(
  set: Set<string>,
  value: Value | undefined,
  form: (text: string) => string = (text) => text,
): void {
  if (typeof value === "string" && value !== "") set.add(form(value));
}

function textsIn(value: Value | undefined): readonly string[] {
  return isList(value) ? value.filter((item) => typeof item === "string") : [];
}

/** A path of the node in one form: no empty and no dot segments, no slash at the end. */
function plainPath(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    // The API server refuses these; if it did not, the path would be above.
    if (part === "..") parts.pop();
    else parts.push(part);
  }
  return `/${parts.join("/")}`;
}

/**
 * What the operations of a JSON patch put into the object, each in its place. A copy or a move brings what is
 * already somewhere in the object, which nobody here knows.
 */
function patchedValues(value: Value): Result<readonly Value[], Unreadable> {
  if (!isList(value)) return err("malformed");
  const values: Value[] = [];
  for (const operation of value) {
    const steps = isMap(operation) ? pointer(operation.get("path")) : undefined;
    if (!isMap(operation) || steps === undefined) return err("malformed");
    switch (operation.get("op")) {
      case "test":
      case "remove":
        break;
      case "add":
      case "replace":
        values.push(placed(steps, operation.get("value") ?? null));
        break;
      default:
        return err("unsupported");
    }
  }
  return ok(values);
}

/** Steps of a JSON pointer (RFC 6901). */
export function pointer(path: Value | undefined): readonly string[] | undefined {
  if (path === "") return [];
  if (typeof path !== "string" || !path.startsWith("/")) return undefined;
  const steps = path.slice(1).split("/");
  if (steps.length > LIMITS.kubernetes.depth) return undefined;
  return steps.map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** What the API server takes for one: Go's Atoi, which reads `-1` (from the end), `+1` and `01` as well. */
export function isIndex(step: string): boolean {
  return /^(?:-|[+-]?\d+)$/.test(step);
}

function placed(steps: readonly string[], value: Value): Value {
  let whole = value;
  for (const step of steps.toReversed()) whole = isIndex(step) ? [whole] : new Map([[step, whole]]);
  return whole;
}

/** Whether the options in a delete's body make it a dry run. The server looks at the query only without a body. */
export function isDryRun(options: Value): boolean {
  const dryRun = isMap(options) ? options.get("dryRun") : undefined;
  return isList(dryRun) && dryRun.length > 0 && dryRun.every((stage) => stage === "All");
}

/** Create, read, update, patch and delete, for every kind alike. */
import type { User } from "./request.ts";
import { removeObject } from "./controllers.ts";
import { complete, randomSuffix } from "./defaults.ts";
import { KINDS, type Kind, apiVersionOf, kindNamed } from "./kinds.ts";
import { noteUpdate, serverSideApply } from "./managed-fields.ts";
import { type Fields, type Pod, type Stored, isFields, timestamp, valueAt, without } from "./objects.ts";
import { jsonPatch, mergePatch, strategicPatch } from "./patch.ts";
import type { Target } from "./request.ts";
import { unknownFields } from "./schemas.ts";
import {
  badRequest,
  conflict,
  forbidden,
  invalid,
  methodNotAllowed,
  notFound,
  unsupportedMedia,
} from "./status.ts";
import type { Store } from "./store.ts";

export type Write = {
  readonly target: Target;
  readonly query: URLSearchParams;
  readonly user: User;
  readonly userAgent: string;
  readonly contentType: string;
  readonly body: unknown;
};

export type Written = {
  readonly code: 200 | 201;
  readonly object: Stored;
  readonly warnings: readonly string[];
};

const NAMESPACE = kindNamed("Namespace");
const POD = kindNamed("Pod");

export const PATCH_TYPES = [
  "application/json-patch+json",
  "application/merge-patch+json",
  "application/strategic-merge-patch+json",
  "application/apply-patch+yaml",
];

export function createObject(store: Store, write: Write): Written {
  const { target } = write;
  const { kind, namespace } = target;
  const given = asObject(kind, write.body);
  const metadata = { ...given.metadata };
  if (kind.namespaced) {
    if (metadata.namespace !== undefined && metadata.namespace !== namespace)
      throw badRequest(
        "the namespace of the provided object does not match the namespace sent on the request",
      );
    metadata.namespace = namespace;
  }
  if (!metadata.name && metadata.generateName) metadata.name = `${metadata.generateName}${randomSuffix()}`;
  if (metadata.resourceVersion)
    throw badRequest("resourceVersion should not be set on objects to be created");
  const warnings = checkFields(write, kind, given);
  insistOnNamespace(store, kind, namespace, metadata.name);
  const object = { ...given, metadata } as Stored;
  return { code: 201, object: create(store, write, object, "Update"), warnings };
}

export function replaceObject(store: Store, write: Write): Written {
  const { kind, namespace, name } = write.target;
  const given = asObject(kind, write.body);
  if (given.metadata.name !== name)
    throw badRequest(
      `the name of the object (${given.metadata.name}) does not match the name on the URL (${name})`,
    );
  const warnings = checkFields(write, kind, given);
  const current = store.get(kind, namespace, name);
  return { code: 200, object: update(store, write, current, given, "Update"), warnings };
}

export function patchObject(store: Store, write: Write): Written {
  const { target, contentType, query } = write;
  const { kind, namespace, name } = target;
  if (contentType === "application/apply-patch+yaml") return apply(store, write);
  const current = store.get(kind, namespace, name);
  let patched: unknown;
  if (contentType === "application/json-patch+json") patched = jsonPatch(current, write.body);
  else if (contentType === "application/merge-patch+json") patched = mergePatch(current, write.body);
  else if (contentType === "application/strategic-merge-patch+json")
    patched = strategicPatch(current, write.body);
  else throw unsupportedMedia(PATCH_TYPES);
  if (query.has("force"))
    throw badRequest(
      "PatchOptions.meta.k8s.io is invalid: force: Forbidden: may not be specified for non-apply patch",
    );
  const given = asObject(kind, patched);
  if (given.metadata.name !== name)
    throw invalid(kind, name, [
      { reason: "FieldValueInvalid", message: "field is immutable", field: "metadata.name" },
    ]);
  const warnings = checkFields(write, kind, given);
  return { code: 200, object: update(store, write, current, given, "Update"), warnings };
}

function apply(store: Store, write: Write): Written {
  const { target, query } = write;
  const { kind, namespace, name } = target;
  const manager = query.get("fieldManager") ?? "";
  if (manager === "") {
    const message = "Required value: is required for apply patch";
    throw invalid({ ...kind, kind: "PatchOptions", group: "meta.k8s.io" }, "", [
      { reason: "FieldValueRequired", message, field: "fieldManager" },
    ]);
  }
  const applied = asObject(kind, write.body);
  if (applied.metadata.managedFields !== undefined) throw badRequest("metadata.managedFields must be nil");
  if (applied.metadata.name !== name)
    throw badRequest("the name of the object does not match the name on the URL");
  const warnings = checkFields(write, kind, applied);
  if (kind.namespaced) applied.metadata.namespace = namespace;
  const current = store.find(kind, namespace, name);
  const writer = { manager, ...(target.subresource === "" ? {} : { subresource: target.subresource }) };
  const merged = serverSideApply(current, applied, writer, query.get("force") === "true");
  if (current !== undefined)
    return { code: 200, object: update(store, write, current, merged, "Apply"), warnings };
  insistOnNamespace(store, kind, namespace, name);
  return { code: 201, object: create(store, write, merged, "Apply"), warnings };
}

function create(store: Store, write: Write, object: Stored, operation: "Apply" | "Update"): Stored {
  const { kind } = write.target;
  for (const field of ["uid", "creationTimestamp", "deletionTimestamp", "selfLink"] as const)
    delete (object.metadata as Fields)[field];
  if (hasStatus(kind)) delete object["status"];
  const asGiven = structuredClone(object);
  complete(kind, object);
  if (kind.group === "apps") object.metadata.generation = 1;
  if (operation === "Update") {
    noteUpdate(undefined, asGiven, writerOf(write));
    if (asGiven.metadata.managedFields !== undefined)
      object.metadata.managedFields = asGiven.metadata.managedFields;
  }
  if (!isDryRun(write.query)) return store.create(kind, object);
  if (store.find(kind, object.metadata.namespace ?? "", object.metadata.name) !== undefined)
    return store.create(kind, object);
  return {
    ...object,
    metadata: { ...object.metadata, uid: crypto.randomUUID(), creationTimestamp: timestamp() },
  };
}

function update(
  store: Store,
  write: Write,
  current: Stored,
  given: Stored,
  operation: "Apply" | "Update",
): Stored {
  const { kind, subresource } = write.target;
  const next = structuredClone(given);
  const { metadata } = next;
  metadata.uid ||= current.metadata.uid;
  if (kind.namespaced) metadata.namespace = current.metadata.namespace ?? "";
  for (const field of [
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generateName",
  ] as const) {
    const value = current.metadata[field];
    if (value === undefined) delete metadata[field];
    else Object.assign(metadata, { [field]: value });
  }
  if (subresource === "status") {
    next["spec"] = current["spec"];
  } else if (hasStatus(kind)) next["status"] = current["status"];
  if (kind === POD) limitPodUpdate(current as Pod, next as Pod, subresource);
  complete(kind, next);
  if (kind.kind === "Secret" || kind.kind === "ConfigMap") insistOnImmutable(kind, current, next);
  if (current.metadata.generation !== undefined) {
    const same = JSON.stringify(current["spec"]) === JSON.stringify(next["spec"]);
    metadata.generation = current.metadata.generation + (same ? 0 : 1);
  }
  if (operation === "Update") noteUpdate(current, next, writerOf(write));
  if (metadata.resourceVersion && metadata.resourceVersion !== current.metadata.resourceVersion) {
    const why = "the object has been modified; please apply your changes to the latest version and try again";
    throw conflict(kind, metadata.name, why);
  }
  if (unchanged(current, next)) return current;
  if (isDryRun(write.query)) return next;
  const stored = store.update(kind, next);
  const finished =
    stored.metadata.deletionTimestamp !== undefined && (stored.metadata.finalizers ?? []).length === 0;
  if (finished && kind !== POD && kind !== NAMESPACE)
    store.remove(kind, metadata.namespace ?? "", metadata.name);
  return stored;
}

/** Times in managedFields aside. */
function unchanged(a: Stored, b: Stored): boolean {
  const plain = (object: Stored): string => {
    const managed = (object.metadata.managedFields ?? []).map((entry) => without(entry, "time"));
    const metadata = { ...without(object.metadata, "resourceVersion"), managedFields: managed };
    return stable({ ...object, metadata });
  };
  return plain(a) === plain(b);
}

function stable(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) =>
    isFields(each) ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1))) : each,
  );
}

/** Of a pod only a few things can be changed once it is there. */
function limitPodUpdate(current: Pod, next: Pod, subresource: string): void {
  const { ephemeralContainers: had = [], ...spec } = current.spec as Pod["spec"] & Fields;
  const { ephemeralContainers: given = [], ...wanted } = next.spec as Pod["spec"] & Fields;
  if (subresource === "ephemeralcontainers") {
    const gone = had.filter((each) => !given.some(({ name }) => name === each.name));
    if (gone.length > 0) {
      const message = `Forbidden: existing ephemeral containers "${gone[0]?.name}" may not be removed`;
      throw invalid(POD, next.metadata.name, [
        { reason: "FieldValueForbidden", message, field: "spec.ephemeralContainers" },
      ]);
    }
    next.spec = { ...current.spec, ephemeralContainers: given };
    return;
  }
  if (given.length > had.length) next.spec = { ...next.spec, ephemeralContainers: had };
  const fixed = (pod: Fields): string => {
    const containers = (pod["containers"] as Fields[]).map((each) => without(each, "image"));
    const mutable = ["activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations"];
    return stable({ ...without(pod, ...mutable), containers });
  };
  if (fixed(spec) === fixed(wanted)) return;
  const message =
    "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
  throw invalid(POD, next.metadata.name, [{ reason: "FieldValueForbidden", message, field: "spec" }]);
}

function insistOnImmutable(kind: Kind, current: Stored, next: Stored): void {
  if (current["immutable"] !== true || stable(current["data"]) === stable(next["data"])) return;
  const message = "Forbidden: field is immutable when `immutable` is set";
  throw invalid(kind, next.metadata.name, [{ reason: "FieldValueForbidden", message, field: "data" }]);
}

export function deleteObject(store: Store, target: Target, query: URLSearchParams, body: unknown): Fields {
  const { kind, namespace, name } = target;
  const object = store.get(kind, namespace, name);
  const removed = deleteOne(store, kind, object, query, body);
  if (store.find(kind, namespace, name) !== undefined && removed.metadata.deletionTimestamp !== undefined)
    return removed;
  const { group, plural } = kind;
  const details = { name, ...(group === "" ? {} : { group }), kind: plural, uid: object.metadata.uid };
  // As the real one: a pod comes back itself, most others as a Status.
  if (kind === POD) return removed;
  return { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", details };
}

export function deleteOne(
  store: Store,
  kind: Kind,
  object: Stored,
  query: URLSearchParams,
  body: unknown,
): Stored {
  const uid = valueAt(body, "preconditions", "uid");
  if (typeof uid === "string" && uid !== object.metadata.uid) {
    const why = `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${object.metadata.uid}`;
    throw conflict(kind, object.metadata.name, why);
  }
  const revision = valueAt(body, "preconditions", "resourceVersion");
  if (typeof revision === "string" && revision !== object.metadata.resourceVersion)
    throw conflict(kind, object.metadata.name, "Precondition failed: ResourceVersion");
  const dryRun =
    isDryRun(query) || (Array.isArray(valueAt(body, "dryRun")) && (valueAt(body, "dryRun") as []).length > 0);
  if (dryRun) return object;
  const policy = query.get("propagationPolicy") ?? valueAt(body, "propagationPolicy");
  if (policy === "Orphan" || query.get("orphanDependents") === "true") orphan(store, object);
  const grace = valueAt(body, "gracePeriodSeconds") ?? query.get("gracePeriodSeconds");
  const seconds = grace === null || grace === undefined ? undefined : Number(grace);
  return removeObject(
    store,
    kind,
    object,
    seconds !== undefined && Number.isInteger(seconds) ? seconds : undefined,
  );
}

function orphan(store: Store, owner: Stored): void {
  for (const kind of KINDS.filter((each) => each.namespaced && each.verbs.includes("update"))) {
    for (const object of store.list(kind, owner.metadata.namespace)) {
      const owners = object.metadata.ownerReferences ?? [];
      const others = owners.filter(({ uid }) => uid !== owner.metadata.uid);
      if (others.length === owners.length) continue;
      const next = structuredClone(object);
      next.metadata.ownerReferences = others;
      store.update(kind, next);
    }
  }
}

function asObject(kind: Kind, body: unknown): Stored {
  if (!isFields(body)) throw badRequest("the body is not an object");
  const { apiVersion = apiVersionOf(kind), kind: name = kind.kind, metadata = {} } = body;
  if (apiVersion !== apiVersionOf(kind) || name !== kind.kind) {
    const given = `${String(apiVersion)}, Kind=${String(name)}`;
    throw badRequest(
      `${kind.kind} in version "${kind.version}" cannot be handled as a ${kind.kind}: the object provided is unrecognized (must be of type ${kind.kind}): ${given}`,
    );
  }
  if (!isFields(metadata)) throw badRequest("metadata is not an object");
  for (const field of ["labels", "annotations"]) {
    const map = metadata[field];
    if (map === undefined || map === null) continue;
    if (!isFields(map) || Object.values(map).some((value) => typeof value !== "string"))
      throw badRequest(
        `json: cannot unmarshal into Go struct field ObjectMeta.metadata.${field} of type string`,
      );
  }
  return {
    ...structuredClone(body),
    apiVersion,
    kind: name,
    metadata: structuredClone(metadata),
  } as Stored;
}

/** Field validation: unknown fields are dropped here never, but told or refused as the client asks. */
function checkFields({ query }: Write, kind: Kind, object: Stored): string[] {
  const mode = query.get("fieldValidation") ?? "Warn";
  if (mode === "Ignore") return [];
  const unknown = unknownFields(kind, object).map((field) => `unknown field "${field}"`);
  if (mode !== "Strict" || unknown.length === 0) return unknown;
  throw badRequest(
    `${kind.kind} in version "${kind.version}" cannot be handled as a ${kind.kind}: strict decoding error: ${unknown.join(", ")}`,
  );
}

function insistOnNamespace(store: Store, kind: Kind, namespace: string, name: string): void {
  if (!kind.namespaced) return;
  const found = store.find(NAMESPACE, "", namespace);
  if (found === undefined) throw notFound(NAMESPACE, namespace);
  if (found.metadata.deletionTimestamp !== undefined) {
    const why = `unable to create new content in namespace ${namespace} because it is being terminated`;
    throw forbidden(kind, name, why);
  }
}

function hasStatus(kind: Kind): boolean {
  return kind.subresources.some(({ name }) => name === "status");
}

function writerOf({ query, userAgent, target }: Write): { manager: string; subresource?: string } {
  const manager = query.get("fieldManager") || userAgent.split("/")[0] || "unknown";
  return { manager, ...(target.subresource === "" ? {} : { subresource: target.subresource }) };
}

export function isDryRun(query: URLSearchParams): boolean {
  const given = query.getAll("dryRun");
  if (given.some((value) => value !== "All")) throw badRequest(`Invalid value: "${given.join(",")}": dryRun`);
  return given.length > 0;
}

/** The `scale` of a Deployment or a ReplicaSet. */
export function readScale(object: Stored): Stored {
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata;
  const labels = (valueAt(object, "spec", "selector", "matchLabels") ?? {}) as Record<string, string>;
  const selector = Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(",");
  return {
    kind: "Scale",
    apiVersion: "autoscaling/v1",
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      uid,
      resourceVersion,
      creationTimestamp,
    },
    spec: { replicas: valueAt(object, "spec", "replicas") ?? 0 },
    status: { replicas: valueAt(object, "status", "replicas") ?? 0, selector },
  };
}

export function writeScale(store: Store, write: Write, method: string): Written {
  const { kind, namespace, name } = write.target;
  const current = store.get(kind, namespace, name);
  const scale = readScale(current);
  const patched = method === "PUT" ? write.body : patchedScale(scale, write);
  const replicas = valueAt(patched, "spec", "replicas") ?? 0;
  if (typeof replicas !== "number" || !Number.isInteger(replicas) || replicas < 0) {
    const message = `Invalid value: ${JSON.stringify(replicas)}: must be greater than or equal to 0`;
    throw invalid(kind, name, [{ reason: "FieldValueInvalid", message, field: "spec.replicas" }]);
  }
  const next = structuredClone(current);
  next["spec"] = { ...(current["spec"] as Fields), replicas };
  const revision = valueAt(patched, "metadata", "resourceVersion");
  if (typeof revision === "string" && revision !== "") next.metadata.resourceVersion = revision;
  const whole = { ...write, target: { ...write.target, subresource: "" } };
  return { code: 200, object: readScale(update(store, whole, current, next, "Update")), warnings: [] };
}

function patchedScale(scale: Stored, { contentType, body }: Write): unknown {
  if (contentType === "application/json-patch+json") return jsonPatch(scale, body);
  if (contentType === "application/merge-patch+json") return mergePatch(scale, body);
  if (contentType === "application/strategic-merge-patch+json") return strategicPatch(scale, body);
  throw methodNotAllowed();
}

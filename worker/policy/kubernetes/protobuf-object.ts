/**
 * Objects in protobuf as values, as far as policy and masks look into them. Field numbers are those of the
 * generated.proto files of k8s.io/api and k8s.io/apimachinery; they never change. Fields that are not listed are
 * passed over, as the API server passes over fields it does not know.
 */
import { fromUtf8 } from "../../../wire/bytes.ts";
import { readEnvelope, readFields } from "../../../wire/kubernetes/protobuf.ts";
import type { Unreadable, Value } from "../../../wire/kubernetes/value.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { RequestInfo } from "./request-info.ts";
import { qualifiedResource } from "./request-info.ts";

type Type = "string" | "bool" | "map" | (() => Message);
/** `*`: repeated. `+`: embedded, so its fields are those of the message around it. */
type Message = ReadonlyMap<number, readonly [name: string, type: Type, how?: "*" | "+"]>;

const message = (...fields: (readonly [number, string, Type, ("*" | "+")?])[]): Message =>
  new Map(
    fields.map(([number, name, type, how]) => [number, how === undefined ? [name, type] : [name, type, how]]),
  );

const metadata = message([1, "name", "string"], [3, "namespace", "string"], [12, "annotations", "map"]);
const METADATA = [1, "metadata", () => metadata] as const;

const name = message([1, "name", "string"]);
const reference = message([1, "", () => name, "+"]);
const envFrom = message([3, "secretRef", () => reference]);
const envSource = message([4, "secretKeyRef", () => reference]);
const env = message([3, "valueFrom", () => envSource]);
const capabilities = message([1, "add", "string", "*"]);
const windows = message([4, "hostProcess", "bool"]);
const security = message(
  [1, "capabilities", () => capabilities],
  [2, "privileged", "bool"],
  [10, "windowsOptions", () => windows],
);
const container = message(
  [1, "name", "string"],
  [2, "image", "string"],
  [7, "env", () => env, "*"],
  [15, "securityContext", () => security],
  [19, "envFrom", () => envFrom, "*"],
);
const ephemeralContainer = message([1, "", () => container, "+"]);
const hostPath = message([1, "path", "string"]);
const secretVolume = message([1, "secretName", "string"]);
const projection = message([1, "secret", () => reference]);
const projected = message([1, "sources", () => projection, "*"]);
const image = message([1, "reference", "string"]);
const csi = message([5, "nodePublishSecretRef", () => name]);
const azureFile = message([1, "secretName", "string"]);
const secretRefAt = (number: number): Type => {
  const source = message([number, "secretRef", () => name]);
  return () => source;
};
const volumeSource = message(
  [1, "hostPath", () => hostPath],
  [6, "secret", () => secretVolume],
  [8, "iscsi", secretRefAt(10)],
  [11, "rbd", secretRefAt(7)],
  [12, "flexVolume", secretRefAt(3)],
  [13, "cinder", secretRefAt(4)],
  [14, "cephfs", secretRefAt(5)],
  [18, "azureFile", () => azureFile],
  [25, "scaleIO", secretRefAt(3)],
  [26, "projected", () => projected],
  [27, "storageos", secretRefAt(5)],
  [28, "csi", () => csi],
  [30, "image", () => image],
);
const volume = message([1, "name", "string"], [2, "", () => volumeSource, "+"]);
const podSecurity = message([8, "windowsOptions", () => windows]);
const podSpec = message(
  [1, "volumes", () => volume, "*"],
  [2, "containers", () => container, "*"],
  [8, "serviceAccountName", "string"],
  [9, "serviceAccount", "string"],
  [11, "hostNetwork", "bool"],
  [12, "hostPID", "bool"],
  [13, "hostIPC", "bool"],
  [14, "securityContext", () => podSecurity],
  [20, "initContainers", () => container, "*"],
  [34, "ephemeralContainers", () => ephemeralContainer, "*"],
);
const pod = message(METADATA, [2, "spec", () => podSpec]);

const templateAt = (number: number): Message => {
  const spec = message([number, "template", () => pod]);
  return message(METADATA, [2, "spec", () => spec]);
};
const job = templateAt(6);
const cronJobSpec = message([5, "jobTemplate", () => job]);
const localVolume = message([1, "path", "string"]);
const persistentSource = message([3, "hostPath", () => hostPath], [20, "local", () => localVolume]);
const persistentSpec = message([2, "", () => persistentSource, "+"]);
const roleRef = message([2, "kind", "string"], [3, "name", "string"]);
const binding = message(METADATA, [3, "roleRef", () => roleRef]);

/** Kinds with something in them that policy looks at, by the resource whose path they are written to. */
const READ = new Map<string, readonly [kind: string, message: Message]>([
  ["pods", ["Pod", pod]],
  ["podtemplates", ["PodTemplate", message(METADATA, [2, "template", () => pod])]],
  ["replicationcontrollers", ["ReplicationController", templateAt(3)]],
  ["deployments.apps", ["Deployment", templateAt(3)]],
  ["replicasets.apps", ["ReplicaSet", templateAt(3)]],
  ["statefulsets.apps", ["StatefulSet", templateAt(3)]],
  ["daemonsets.apps", ["DaemonSet", templateAt(2)]],
  ["jobs.batch", ["Job", job]],
  ["cronjobs.batch", ["CronJob", message(METADATA, [2, "spec", () => cronJobSpec])]],
  ["persistentvolumes", ["PersistentVolume", message(METADATA, [2, "spec", () => persistentSpec])]],
  ["rolebindings.rbac.authorization.k8s.io", ["RoleBinding", binding]],
  ["clusterrolebindings.rbac.authorization.k8s.io", ["ClusterRoleBinding", binding]],
  ["secrets", ["Secret", message(METADATA, [2, "data", "map"], [4, "stringData", "map"])]],
  ["configmaps", ["ConfigMap", message(METADATA, [2, "data", "map"], [3, "binaryData", "map"])]],
]);

/** Kinds in which there is nothing that policy looks at. */
const HARMLESS = new Map([
  ["bindings", "Binding"],
  ["endpoints", "Endpoints"],
  ["events", "Event"],
  ["limitranges", "LimitRange"],
  ["namespaces", "Namespace"],
  ["nodes", "Node"],
  ["persistentvolumeclaims", "PersistentVolumeClaim"],
  ["resourcequotas", "ResourceQuota"],
  ["serviceaccounts", "ServiceAccount"],
  ["services", "Service"],
  ["events.events.k8s.io", "Event"],
  ["leases.coordination.k8s.io", "Lease"],
  ["endpointslices.discovery.k8s.io", "EndpointSlice"],
  ["horizontalpodautoscalers.autoscaling", "HorizontalPodAutoscaler"],
  ["poddisruptionbudgets.policy", "PodDisruptionBudget"],
  ["networkpolicies.networking.k8s.io", "NetworkPolicy"],
  ["priorityclasses.scheduling.k8s.io", "PriorityClass"],
  ["storageclasses.storage.k8s.io", "StorageClass"],
  ["roles.rbac.authorization.k8s.io", "Role"],
  ["clusterroles.rbac.authorization.k8s.io", "ClusterRole"],
  ["tokenreviews.authentication.k8s.io", "TokenReview"],
  ["selfsubjectreviews.authentication.k8s.io", "SelfSubjectReview"],
  ["subjectaccessreviews.authorization.k8s.io", "SubjectAccessReview"],
  ["selfsubjectaccessreviews.authorization.k8s.io", "SelfSubjectAccessReview"],
  ["selfsubjectrulesreviews.authorization.k8s.io", "SelfSubjectRulesReview"],
  ["localsubjectaccessreviews.authorization.k8s.io", "LocalSubjectAccessReview"],
  ["certificatesigningrequests.certificates.k8s.io", "CertificateSigningRequest"],
]);

/** Subresources that are written as the object itself. */
const OBJECT_SUBRESOURCES = ["", "status", "ephemeralcontainers", "resize", "finalize", "approval"];

/** Kinds of what is written to other subresources; the same for every resource. */
const SUBRESOURCES = new Map([
  ["scale", "Scale"],
  ["eviction", "Eviction"],
  ["binding", "Binding"],
  ["token", "TokenRequest"],
]);

const deleteOptions = message([5, "dryRun", "string", "*"]);

/** What is written to a resource's path, from its envelope on. */
export function readObject(
  info: Pick<RequestInfo, "verb" | "resource" | "group" | "subresource">,
  bytes: Uint8Array,
): Result<Value, Unreadable> {
  const envelope = readEnvelope(bytes);
  if (!envelope.ok) return envelope;
  const { kind: written, raw } = envelope.value;
  const expected = expectedType(info);
  if (expected === undefined) return err("unsupported");
  const [kind, type] = expected;
  // The server would not take it either, and would have read it as something else until then.
  if (written !== "" && written !== kind) return err("unsupported");
  const object = readMessage(raw, type, 0);
  return object.ok ? ok(new Map<string, Value>([["kind", kind], ...object.value])) : object;
}

function expectedType(
  info: Pick<RequestInfo, "verb" | "resource" | "group" | "subresource">,
): readonly [kind: string, message: Message] | undefined {
  if (info.verb === "delete" || info.verb === "deletecollection") return ["DeleteOptions", deleteOptions];
  const special = SUBRESOURCES.get(info.subresource);
  if (special !== undefined) return [special, new Map()];
  if (!OBJECT_SUBRESOURCES.includes(info.subresource)) return undefined;
  const resource = qualifiedResource(info);
  const harmless = HARMLESS.get(resource);
  return READ.get(resource) ?? (harmless === undefined ? undefined : [harmless, new Map()]);
}

function readMessage(
  bytes: Uint8Array,
  type: Message,
  depth: number,
): Result<ReadonlyMap<string, Value>, Unreadable> {
  if (depth > LIMITS.kubernetes.depth) return err("over_limit");
  const fields = readFields(bytes);
  if (!fields.ok) return fields;
  const found = new Map<string, Value>();
  const lists = new Map<string, Value[]>();
  const maps = new Map<string, Map<string, Value>>();
  const seen = new Set<number>();
  for (const { number, value, delimited } of fields.value) {
    const known = type.get(number);
    if (known === undefined) continue;
    const [name, of, how] = known;
    // Go merges the second message into the first.
    if (how !== "*" && of !== "map" && seen.has(number)) return err("duplicate");
    seen.add(number);
    if (of === "bool") {
      if (typeof value !== "number") return err("malformed");
      found.set(name, value !== 0);
      continue;
    }
    if (typeof value === "number" || !delimited) return err("malformed");
    if (of === "map") {
      const map = maps.get(name) ?? new Map<string, Value>();
      maps.set(name, map);
      found.set(name, map);
      const entry = readEntry(value);
      if (!entry.ok) return entry;
      const [key, text] = entry.value;
      if (map.has(key)) return err("duplicate");
      map.set(key, text);
      continue;
    }
    const item = of === "string" ? readText(value) : readMessage(value, of(), depth + 1);
    if (!item.ok) return item;
    if (how === "*") {
      const list = lists.get(name) ?? [];
      list.push(item.value);
      lists.set(name, list);
      found.set(name, list);
    } else if (how === "+" && item.value instanceof Map) {
      for (const [inner, each] of item.value as ReadonlyMap<string, Value>) found.set(inner, each);
    } else found.set(name, item.value);
  }
  return ok(found);
}

function readText(bytes: Uint8Array): Result<string, Unreadable> {
  const text = fromUtf8(bytes);
  return text === undefined ? err("malformed") : ok(text);
}

/** One entry of a `map<string, …>`. Values that are no text are left empty: only their keys are of use then. */
function readEntry(bytes: Uint8Array): Result<readonly [key: string, text: string], Unreadable> {
  const fields = readFields(bytes);
  if (!fields.ok) return fields;
  const parts = new Map<number, string>();
  for (const { number, value, delimited } of fields.value) {
    if (number > 2) continue;
    if (typeof value === "number" || !delimited) return err("malformed");
    if (parts.has(number)) return err("duplicate");
    parts.set(number, fromUtf8(value) ?? "");
  }
  return ok([parts.get(1) ?? "", parts.get(2) ?? ""]);
}

/** What the controller manager does: Deployments make ReplicaSets, those make Pods, and what is owned goes along. */
import { createHash } from "node:crypto";
import { randomSuffix } from "./defaults.ts";
import type { Recorder } from "./events.ts";
import { KINDS, type Kind, apiVersionOf, kindNamed } from "./kinds.ts";
import {
  type Fields,
  type OwnerReference,
  type Pod,
  type Stored,
  type Workload,
  timestamp,
} from "./objects.ts";
import { objectSelector } from "./selectors.ts";
import type { Store } from "./store.ts";

const DEPLOYMENT = kindNamed("Deployment");
const REPLICA_SET = kindNamed("ReplicaSet");
const POD = kindNamed("Pod");
const NAMESPACE = kindNamed("Namespace");
const SERVICE_ACCOUNT = kindNamed("ServiceAccount");
const REVISION = "deployment.kubernetes.io/revision";
const TEMPLATE_HASH = "pod-template-hash";

/** Starts the controllers. Each change is looked at after the request that made it has been answered. */
export function startControllers(store: Store, record: Recorder): () => void {
  const timers = new Set<NodeJS.Immediate>();
  const soon = (action: () => void): void => {
    const timer = setImmediate(() => {
      timers.delete(timer);
      action();
    });
    timers.add(timer);
  };
  const unwatch = store.watch(0, ({ type, kind, object }) => {
    if (kind === NAMESPACE) soon(() => (type === "DELETED" ? undefined : namespaceChanged(store, object)));
    if (type === "DELETED") soon(() => collect(store, object));
    if (kind === DEPLOYMENT && type !== "DELETED") soon(() => reconcileDeployment(store, record, object));
    if (kind === REPLICA_SET && type !== "DELETED") soon(() => reconcileReplicaSet(store, record, object));
    const owner = object.metadata.ownerReferences?.find(({ controller }) => controller === true);
    const { namespace = "" } = object.metadata;
    if (kind === POD && owner?.kind === "ReplicaSet") {
      soon(() => {
        const set = store.find(REPLICA_SET, namespace, owner.name);
        if (set !== undefined) reconcileReplicaSet(store, record, set);
      });
    }
    if (kind === REPLICA_SET && owner?.kind === "Deployment") {
      soon(() => {
        const deployment = store.find(DEPLOYMENT, namespace, owner.name);
        if (deployment !== undefined) reconcileDeployment(store, record, deployment);
      });
    }
  });
  return () => {
    unwatch();
    for (const timer of timers) clearImmediate(timer);
  };
}

/** What can be deleted one by one: objects of namespaced kinds that are stored. */
export const NAMESPACED_KINDS: readonly Kind[] = KINDS.filter(
  ({ namespaced, verbs }) => namespaced && verbs.includes("list"),
);

/** Removes an object, or lets a pod end first. */
export function removeObject(store: Store, kind: Kind, object: Stored, graceSeconds?: number): Stored {
  const { namespace = "", name, finalizers = [] } = object.metadata;
  const graceful = kind === POD || kind === NAMESPACE || finalizers.length > 0;
  const grace = graceSeconds ?? (object as Partial<Pod>).spec?.terminationGracePeriodSeconds ?? 0;
  if (!graceful || (kind === POD && grace === 0 && finalizers.length === 0))
    return store.remove(kind, namespace, name);
  if (object.metadata.deletionTimestamp !== undefined) return object;
  const next = structuredClone(object);
  next.metadata.deletionTimestamp = timestamp(Date.now() + grace * 1000);
  if (kind === POD) next.metadata.deletionGracePeriodSeconds = grace;
  if (kind === NAMESPACE) next["status"] = { phase: "Terminating" };
  return store.update(kind, next);
}

function namespaceChanged(store: Store, given: Stored): void {
  const { name } = given.metadata;
  const namespace = store.find(NAMESPACE, "", name);
  if (namespace === undefined) return;
  if (namespace.metadata.deletionTimestamp === undefined) {
    if (store.find(SERVICE_ACCOUNT, name, "default") === undefined) {
      const metadata = { name: "default", namespace: name };
      store.create(SERVICE_ACCOUNT, { apiVersion: "v1", kind: "ServiceAccount", metadata });
    }
    return;
  }
  for (const kind of NAMESPACED_KINDS)
    for (const object of store.list(kind, name)) removeObject(store, kind, object, 0);
  store.remove(NAMESPACE, "", name);
}

/** The garbage collector: what `owner` owned and nobody else does. */
function collect(store: Store, owner: Stored): void {
  for (const kind of NAMESPACED_KINDS) {
    for (const object of store.list(kind, owner.metadata.namespace)) {
      const owners = object.metadata.ownerReferences ?? [];
      if (!owners.some(({ uid }) => uid === owner.metadata.uid)) continue;
      if (owners.length === 1) removeObject(store, kind, object);
    }
  }
}

function ownedBy(store: Store, kind: Kind, owner: Stored): Stored[] {
  return store
    .list(kind, owner.metadata.namespace)
    .filter(({ metadata }) => metadata.ownerReferences?.some(({ uid }) => uid === owner.metadata.uid));
}

function reference(owner: Stored): OwnerReference {
  const { apiVersion, kind, metadata } = owner;
  const { name, uid } = metadata;
  return { apiVersion, kind, name, uid, controller: true, blockOwnerDeletion: true };
}

function reconcileDeployment(store: Store, record: Recorder, given: Stored): void {
  const { namespace = "", name } = given.metadata;
  const deployment = store.find(DEPLOYMENT, namespace, name) as Workload | undefined;
  if (deployment === undefined || deployment.metadata.deletionTimestamp !== undefined) return;
  const replicas = deployment.spec.replicas ?? 1;
  const sets = ownedBy(store, REPLICA_SET, deployment) as Workload[];
  const hash = templateHash(deployment);
  const current = sets.find(({ metadata }) => metadata.labels?.[TEMPLATE_HASH] === hash);
  if (current === undefined) return createReplicaSet(store, record, deployment, hash, sets);
  scaleTo(store, record, deployment, current, replicas);
  const ready = Number(current.status["readyReplicas"] ?? 0);
  // The old ones go when the new ones are ready, as a rolling update with a surge would have it.
  const old = sets.filter((set) => set !== current);
  if (ready >= replicas) for (const set of old) scaleTo(store, record, deployment, set, 0);
  const sum = (field: string): number => sets.reduce((all, set) => all + Number(set.status[field] ?? 0), 0);
  const next = structuredClone(deployment);
  const condition = (type: string, status: string, reason: string): Fields => {
    const known = (deployment.status["conditions"] as Fields[] | undefined)?.find(
      (each) => each["type"] === type && each["status"] === status && each["reason"] === reason,
    );
    return (
      known ?? {
        type,
        status,
        reason,
        lastUpdateTime: timestamp(),
        lastTransitionTime: timestamp(),
        message: "",
      }
    );
  };
  const available = sum("readyReplicas");
  next.metadata.annotations = {
    ...next.metadata.annotations,
    [REVISION]: current.metadata.annotations?.[REVISION] ?? "1",
  };
  next.status = {
    observedGeneration: deployment.metadata.generation ?? 1,
    replicas: sum("replicas"),
    updatedReplicas: Number(current.status["replicas"] ?? 0),
    readyReplicas: available,
    availableReplicas: available,
    ...(available < replicas ? { unavailableReplicas: replicas - available } : {}),
    conditions: [
      available >= replicas
        ? condition("Available", "True", "MinimumReplicasAvailable")
        : condition("Available", "False", "MinimumReplicasUnavailable"),
      condition("Progressing", "True", ready >= replicas ? "NewReplicaSetAvailable" : "ReplicaSetUpdated"),
    ],
  };
  store.update(DEPLOYMENT, next);
}

function createReplicaSet(
  store: Store,
  record: Recorder,
  deployment: Workload,
  hash: string,
  others: readonly Workload[],
): void {
  const { namespace = "", name } = deployment.metadata;
  const template = structuredClone(deployment.spec.template);
  const labels = { ...template.metadata?.labels, [TEMPLATE_HASH]: hash };
  template.metadata = { ...template.metadata, labels };
  const revision =
    1 + Math.max(0, ...others.map(({ metadata }) => Number(metadata.annotations?.[REVISION] ?? 0)));
  const matchLabels = { ...deployment.spec.selector.matchLabels, [TEMPLATE_HASH]: hash };
  const replicas = deployment.spec.replicas ?? 1;
  store.create(REPLICA_SET, {
    apiVersion: apiVersionOf(REPLICA_SET),
    kind: "ReplicaSet",
    metadata: {
      name: `${name}-${hash}`,
      namespace,
      labels,
      generation: 1,
      annotations: { [REVISION]: String(revision) },
      ownerReferences: [reference(deployment)],
    },
    spec: { replicas, selector: { ...deployment.spec.selector, matchLabels }, template },
    status: {},
  });
  const message = `Scaled up replica set ${name}-${hash} from 0 to ${replicas}`;
  record(deployment, "Normal", "ScalingReplicaSet", message, "deployment-controller");
}

function scaleTo(
  store: Store,
  record: Recorder,
  deployment: Workload,
  set: Workload,
  replicas: number,
): void {
  const from = set.spec.replicas ?? 1;
  if (from === replicas) return;
  const next = structuredClone(set);
  next.spec.replicas = replicas;
  next.metadata.generation = (next.metadata.generation ?? 1) + 1;
  store.update(REPLICA_SET, next);
  const how = replicas > from ? "up" : "down";
  const message = `Scaled ${how} replica set ${set.metadata.name} from ${from} to ${replicas}`;
  record(deployment, "Normal", "ScalingReplicaSet", message, "deployment-controller");
}

function templateHash(deployment: Workload): string {
  const digest = createHash("sha256").update(JSON.stringify(deployment.spec.template)).digest();
  const letters = "bcdfghjklmnpqrstvwxz2456789";
  return [...digest.subarray(0, 10)].map((byte) => letters[byte % letters.length]).join("");
}

function reconcileReplicaSet(store: Store, record: Recorder, given: Stored): void {
  const { namespace = "", name } = given.metadata;
  const set = store.find(REPLICA_SET, namespace, name) as Workload | undefined;
  if (set === undefined || set.metadata.deletionTimestamp !== undefined) return;
  const matches = objectSelector(set.spec.selector);
  const pods = (ownedBy(store, POD, set) as Pod[]).filter(
    (pod) =>
      matches(pod) &&
      pod.metadata.deletionTimestamp === undefined &&
      pod.status.phase !== "Failed" &&
      pod.status.phase !== "Succeeded",
  );
  const replicas = set.spec.replicas ?? 1;
  for (let missing = replicas - pods.length; missing > 0; missing--) {
    const pod = createPod(store, set);
    record(set, "Normal", "SuccessfulCreate", `Created pod: ${pod.metadata.name}`, "replicaset-controller");
  }
  for (const pod of pods.slice(replicas)) {
    record(set, "Normal", "SuccessfulDelete", `Deleted pod: ${pod.metadata.name}`, "replicaset-controller");
    removeObject(store, POD, pod);
  }
  const ready = pods.slice(0, replicas).filter(({ status }) => status.phase === "Running").length;
  const next = structuredClone((store.find(REPLICA_SET, namespace, name) as Workload | undefined) ?? set);
  next.status = {
    observedGeneration: set.metadata.generation ?? 1,
    replicas: Math.min(pods.length, replicas),
    fullyLabeledReplicas: Math.min(pods.length, replicas),
    readyReplicas: ready,
    availableReplicas: ready,
  };
  store.update(REPLICA_SET, next);
}

function createPod(store: Store, set: Workload): Stored {
  const { namespace = "", name } = set.metadata;
  const { metadata = {}, spec } = structuredClone(set.spec.template);
  return store.create(POD, {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      ...metadata,
      name: `${name}-${randomSuffix()}`,
      generateName: `${name}-`,
      namespace,
      ownerReferences: [reference(set)],
    },
    spec: { serviceAccountName: "default", enableServiceLinks: true, ...spec },
    status: { phase: "Pending", qosClass: "BestEffort" },
  });
}

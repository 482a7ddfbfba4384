/** What `kubectl get` shows: meta.k8s.io/v1 Table, with the columns of the real server. */
import { type Fields, type Pod, type Stored, isFields, valueAt } from "./objects.ts";

type Column = {
  readonly name: string;
  readonly type: "string" | "integer";
  /** 0: always shown; 1: with `-o wide`. */
  readonly priority: number;
  readonly cell: (object: Stored) => unknown;
};

export type Include = "None" | "Metadata" | "Object";

const column = (
  name: string,
  cell: (object: Stored) => unknown,
  priority = 0,
  type: Column["type"] = "string",
): Column => ({ name, type, priority, cell });

const NAME = column("Name", ({ metadata }) => metadata.name);
const AGE = column("Age", ({ metadata }) => age(metadata.creationTimestamp));
const NONE = "<none>";

const text =
  (...path: string[]): ((object: Stored) => unknown) =>
  (object) =>
    valueAt(object, ...path) ?? NONE;
const count =
  (...path: string[]): ((object: Stored) => unknown) =>
  (object) => {
    const value = valueAt(object, ...path);
    return isFields(value) || Array.isArray(value) ? Object.keys(value).length : 0;
  };
const number =
  (...path: string[]): ((object: Stored) => unknown) =>
  (object) =>
    valueAt(object, ...path) ?? 0;
const templateContainers = (object: Stored): Fields[] =>
  (valueAt(object, "spec", "template", "spec", "containers") as Fields[] | undefined) ?? [];
const selector =
  (...path: string[]): ((object: Stored) => unknown) =>
  (object) => {
    const labels = valueAt(object, ...path);
    if (!isFields(labels) || Object.keys(labels).length === 0) return NONE;
    return Object.entries(labels)
      .map(([key, value]) => `${key}=${String(value)}`)
      .join(",");
  };
const CONTAINERS = [
  column(
    "Containers",
    (object) =>
      templateContainers(object)
        .map((each) => each["name"])
        .join(","),
    1,
  ),
  column(
    "Images",
    (object) =>
      templateContainers(object)
        .map((each) => each["image"])
        .join(","),
    1,
  ),
  column("Selector", selector("spec", "selector", "matchLabels"), 1),
];

const COLUMNS: Readonly<Record<string, readonly Column[]>> = {
  Namespace: [NAME, column("Status", text("status", "phase")), AGE],
  Node: [
    NAME,
    column("Status", () => "Ready"),
    column("Roles", () => NONE),
    AGE,
    column("Version", text("status", "nodeInfo", "kubeletVersion")),
    column("Internal-IP", () => "10.0.0.11", 1),
    column("External-IP", () => NONE, 1),
    column("OS-Image", text("status", "nodeInfo", "osImage"), 1),
    column("Kernel-Version", text("status", "nodeInfo", "kernelVersion"), 1),
    column("Container-Runtime", text("status", "nodeInfo", "containerRuntimeVersion"), 1),
  ],
  Pod: [
    NAME,
    column("Ready", (object) => readyOf(object as Pod)),
    column("Status", (object) => podStatus(object as Pod)),
    column("Restarts", () => 0),
    AGE,
    column("IP", text("status", "podIP"), 1),
    column("Node", text("spec", "nodeName"), 1),
    column("Nominated Node", text("status", "nominatedNodeName"), 1),
    column("Readiness Gates", () => NONE, 1),
  ],
  Service: [
    NAME,
    column("Type", text("spec", "type")),
    column("Cluster-IP", text("spec", "clusterIP")),
    column("External-IP", () => NONE),
    column("Port(s)", (object) =>
      ((valueAt(object, "spec", "ports") as Fields[] | undefined) ?? [])
        .map((port) => `${String(port["port"])}/${String(port["protocol"])}`)
        .join(","),
    ),
    AGE,
    column("Selector", selector("spec", "selector"), 1),
  ],
  ConfigMap: [NAME, column("Data", count("data")), AGE],
  Secret: [NAME, column("Type", text("type")), column("Data", count("data")), AGE],
  ServiceAccount: [NAME, column("Secrets", count("secrets")), AGE],
  Event: [
    column("Last Seen", (object) => age(object["lastTimestamp"] as string | undefined)),
    column("Type", text("type")),
    column("Reason", text("reason")),
    column("Object", (object) => {
      const { kind = "", name = "" } = (object["involvedObject"] ?? {}) as Record<string, string>;
      return `${kind.toLowerCase()}/${name}`;
    }),
    column("Subobject", text("involvedObject", "fieldPath"), 1),
    column("Source", text("source", "component"), 1),
    column("Message", text("message")),
    column("First Seen", (object) => age(object["firstTimestamp"] as string | undefined), 1),
    column("Count", number("count"), 1),
    column("Name", ({ metadata }) => metadata.name, 1),
  ],
  Deployment: [
    NAME,
    column(
      "Ready",
      (object) =>
        `${String(number("status", "readyReplicas")(object))}/${String(number("spec", "replicas")(object))}`,
    ),
    column("Up-to-date", number("status", "updatedReplicas")),
    column("Available", number("status", "availableReplicas")),
    AGE,
    ...CONTAINERS,
  ],
  ReplicaSet: [
    NAME,
    column("Desired", number("spec", "replicas"), 0, "integer"),
    column("Current", number("status", "replicas"), 0, "integer"),
    column("Ready", number("status", "readyReplicas"), 0, "integer"),
    AGE,
    ...CONTAINERS,
  ],
};

/** A Table of `objects`; `withColumns` is false for all but the first event of a watch. */
export function tableOf(
  kind: string,
  objects: readonly Stored[],
  options: { readonly include: Include; readonly metadata: Fields; readonly withColumns: boolean },
): Fields {
  const columns = COLUMNS[kind] ?? [NAME, AGE];
  return {
    kind: "Table",
    apiVersion: "meta.k8s.io/v1",
    metadata: options.metadata,
    columnDefinitions: options.withColumns
      ? columns.map(({ name, type, priority }) => ({
          name,
          type,
          format: name === "Name" ? "name" : "",
          description: name,
          priority,
        }))
      : null,
    rows: objects.map((object) => ({
      cells: columns.map(({ cell }) => cell(object)),
      ...rowObject(object, options.include),
    })),
  };
}

function rowObject(object: Stored, include: Include): Fields {
  if (include === "None") return {};
  if (include === "Object") return { object };
  return {
    object: { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata: object.metadata },
  };
}

function readyOf(pod: Pod): string {
  const statuses = pod.status.containerStatuses ?? [];
  return `${statuses.filter(({ ready }) => ready).length}/${pod.spec.containers.length}`;
}

function podStatus(pod: Pod): string {
  if (pod.metadata.deletionTimestamp !== undefined) return "Terminating";
  for (const { state } of pod.status.containerStatuses ?? []) {
    const reason = valueAt(state, "waiting", "reason") ?? valueAt(state, "terminated", "reason");
    if (typeof reason === "string") return reason;
  }
  return pod.status.phase;
}

/** As k8s.io/apimachinery/pkg/util/duration.HumanDuration writes it. */
function age(since = ""): string {
  const seconds = Math.floor((Date.now() - Date.parse(since)) / 1000);
  if (Number.isNaN(seconds)) return "<unknown>";
  const [minutes, hours, days] = [
    Math.floor(seconds / 60),
    Math.floor(seconds / 3600),
    Math.floor(seconds / 86_400),
  ];
  if (seconds < 120) return `${Math.max(seconds, 0)}s`;
  if (minutes < 10) return seconds % 60 === 0 ? `${minutes}m` : `${minutes}m${seconds % 60}s`;
  if (minutes < 180) return `${minutes}m`;
  if (hours < 8) return minutes % 60 === 0 ? `${hours}h` : `${hours}h${minutes % 60}m`;
  if (hours < 48) return `${hours}h`;
  return `${days}d`;
}

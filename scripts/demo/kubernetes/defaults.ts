/** What the server fills in and insists on before it stores an object. */
import { createHash, randomBytes } from "node:crypto";
import type { Kind } from "./kinds.ts";
import {
  type ContainerSpec,
  type Fields,
  type PodTemplate,
  type Stored,
  isFields,
  valueAt,
} from "./objects.ts";
import { invalid } from "./status.ts";

const NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;
const LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
/** Letters and digits that make no words. */
const SUFFIX = "bcdfghjklmnpqrstvwxz2456789";

/** Fills in the defaults of `kind`, in place. Throws a StatusError (Invalid) when something is wrong. */
export function complete(kind: Kind, object: Stored): void {
  const causes: Fields[] = [];
  const complain = (field: string, reason: string, message: string): void =>
    void causes.push({ reason, message, field });
  const { name } = object.metadata;
  const pattern = kind.kind === "Namespace" || kind.kind === "Service" ? LABEL : NAME;
  if (!pattern.test(name)) {
    const why = `Invalid value: ${JSON.stringify(name)}: a lowercase RFC 1123 ${pattern === LABEL ? "label" : "subdomain"} must consist of lower case alphanumeric characters, '-'${pattern === LABEL ? "" : " or '.'"}, and must start and end with an alphanumeric character`;
    complain("metadata.name", "FieldValueInvalid", why);
  }
  COMPLETE[kind.kind]?.(object, complain);
  if (causes.length > 0) throw invalid(kind, name, causes);
}

type Complain = (field: string, reason: string, message: string) => void;

const COMPLETE: Readonly<Record<string, (object: Stored, complain: Complain) => void>> = {
  Namespace: (object) => {
    object.metadata.labels = {
      ...object.metadata.labels,
      "kubernetes.io/metadata.name": object.metadata.name,
    };
    object["spec"] ??= { finalizers: ["kubernetes"] };
    object["status"] ??= { phase: "Active" };
  },
  Secret: (object, complain) => {
    object["type"] ??= "Opaque";
    const data: Fields = { ...(object["data"] as Fields | undefined) };
    for (const [key, value] of Object.entries(data)) {
      if (typeof value !== "string" || !BASE64.test(value))
        complain(`data[${key}]`, "FieldValueInvalid", "Invalid value: illegal base64 data");
    }
    for (const [key, value] of Object.entries((object["stringData"] as Fields | undefined) ?? {}))
      data[key] = Buffer.from(String(value)).toString("base64");
    delete object["stringData"];
    if (Object.keys(data).length > 0) object["data"] = data;
  },
  Service: (object) => {
    const spec = (object["spec"] ??= {}) as Fields;
    spec["type"] ??= "ClusterIP";
    spec["sessionAffinity"] ??= "None";
    spec["clusterIP"] ??= addressFor(`service/${object.metadata.namespace}/${object.metadata.name}`, "10.96");
    spec["clusterIPs"] ??= [spec["clusterIP"]];
    spec["ipFamilies"] ??= ["IPv4"];
    spec["ipFamilyPolicy"] ??= "SingleStack";
    spec["internalTrafficPolicy"] ??= "Cluster";
    for (const port of (spec["ports"] as Fields[] | undefined) ?? []) {
      port["protocol"] ??= "TCP";
      port["targetPort"] ??= port["port"];
    }
    object["status"] ??= { loadBalancer: {} };
  },
  Pod: (object, complain) => {
    completePod({ spec: (object["spec"] ??= {}) } as PodTemplate, "spec", complain);
    object["status"] ??= { phase: "Pending", qosClass: "BestEffort" };
  },
  Deployment: (object, complain) => {
    const spec = completeWorkload(object, complain);
    spec["strategy"] ??= {
      type: "RollingUpdate",
      rollingUpdate: { maxUnavailable: "25%", maxSurge: "25%" },
    };
    spec["revisionHistoryLimit"] ??= 10;
    spec["progressDeadlineSeconds"] ??= 600;
  },
  ReplicaSet: (object, complain) => void completeWorkload(object, complain),
};

function completeWorkload(object: Stored, complain: Complain): Fields {
  const spec = (object["spec"] ??= {}) as Fields;
  spec["replicas"] ??= 1;
  object["status"] ??= {};
  const labels = valueAt(spec, "template", "metadata", "labels");
  const wanted = valueAt(spec, "selector", "matchLabels");
  if (!isFields(wanted)) complain("spec.selector", "FieldValueRequired", "Required value");
  else if (!Object.entries(wanted).every(([key, value]) => valueAt(labels, key) === value)) {
    const why = `Invalid value: ${JSON.stringify(labels ?? {})}: \`selector\` does not match template \`labels\``;
    complain("spec.template.metadata.labels", "FieldValueInvalid", why);
  }
  const template = (spec["template"] ??= {}) as PodTemplate;
  template.spec ??= { containers: [] };
  completePod(template, "spec.template.spec", complain);
  return spec;
}

function completePod(template: PodTemplate, at: string, complain: Complain): void {
  const spec = template.spec as PodTemplate["spec"] & Fields;
  spec.restartPolicy ??= "Always";
  spec.terminationGracePeriodSeconds ??= 30;
  spec["dnsPolicy"] ??= "ClusterFirst";
  spec["securityContext"] ??= {};
  spec["schedulerName"] ??= "default-scheduler";
  if (at === "spec") {
    spec["serviceAccountName"] ??= "default";
    spec["enableServiceLinks"] ??= true;
  }
  if (!Array.isArray(spec.containers) || spec.containers.length === 0) {
    complain(`${at}.containers`, "FieldValueRequired", "Required value");
    return;
  }
  const names = new Set<string>();
  const all: [ContainerSpec, string][] = [
    ...spec.containers.map((each, i): [ContainerSpec, string] => [each, `${at}.containers[${i}]`]),
    ...(spec.initContainers ?? []).map((each, i): [ContainerSpec, string] => [
      each,
      `${at}.initContainers[${i}]`,
    ]),
    ...(spec.ephemeralContainers ?? []).map((each, i): [ContainerSpec, string] => [
      each,
      `${at}.ephemeralContainers[${i}]`,
    ]),
  ];
  for (const [container, field] of all) {
    const { name, image } = container;
    if (typeof name !== "string" || name === "")
      complain(`${field}.name`, "FieldValueRequired", "Required value");
    else if (!LABEL.test(name)) complain(`${field}.name`, "FieldValueInvalid", `Invalid value: "${name}"`);
    else if (names.has(name)) complain(`${field}.name`, "FieldValueDuplicate", `Duplicate value: "${name}"`);
    names.add(name);
    if (typeof image !== "string" || image === "")
      complain(`${field}.image`, "FieldValueRequired", "Required value");
    completeContainer(container);
  }
}

function completeContainer(container: ContainerSpec & Fields): void {
  const { image } = container;
  container["imagePullPolicy"] ??= /:(?!latest$)[\w.-]+$/.test(image) ? "IfNotPresent" : "Always";
  container["terminationMessagePath"] ??= "/dev/termination-log";
  container["terminationMessagePolicy"] ??= "File";
  container["resources"] ??= {};
  for (const port of container.ports ?? []) port.protocol ??= "TCP";
}

/** As the real server ends a `generateName`. */
export function randomSuffix(length = 5): string {
  return [...randomBytes(length)].map((byte) => SUFFIX[byte % SUFFIX.length]).join("");
}

/** An address that stays the same for the same name. */
export function addressFor(name: string, prefix: string): string {
  const [a = 0, b = 0] = createHash("sha256").update(name).digest();
  return `${prefix}.${a}.${1 + (b % 254)}`;
}

/** Label and field selectors (k8s.io/apimachinery/pkg/labels and fields). */
import { type LabelSelector, type Stored, valueAt } from "./objects.ts";
import { badRequest } from "./status.ts";

export type Selector = (object: Stored) => boolean;

/** The fields that can be selected by, beside a name and a namespace. */
const FIELDS: Readonly<Record<string, readonly string[]>> = {
  pods: ["spec.nodeName", "spec.restartPolicy", "spec.serviceAccountName", "status.phase", "status.podIP"],
  secrets: ["type"],
  namespaces: ["status.phase"],
  nodes: ["spec.unschedulable"],
  events: [
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
  ],
  replicasets: ["status.replicas"],
};

const EXPRESSION =
  /^\s*(?:(!)\s*([\w./-]+)|([\w./-]+)(?:\s*(==|=|!=)\s*([\w.-]*)|\s+(in|notin)\s*\(([^)]*)\))?)\s*$/;

/** Throws a StatusError when the text is not a selector. */
export function labelSelector(text: string): Selector {
  if (text.trim() === "") return () => true;
  const tests = splitOutsideParentheses(text).map(labelTest);
  return (object) => tests.every((test) => test(object.metadata.labels ?? {}));
}

function labelTest(text: string): (labels: Record<string, string>) => boolean {
  const match = EXPRESSION.exec(text);
  if (match === null) throw badRequest(`unable to parse requirement: found '${text}'`);
  const [, not, absent, key = "", operator, value = "", set, list = ""] = match;
  if (not !== undefined && absent !== undefined) return (labels) => !Object.hasOwn(labels, absent);
  const values = set === undefined ? [value] : list.split(",").map((each) => each.trim());
  if (operator === "!=" || set === "notin")
    return (labels) => !(Object.hasOwn(labels, key) && values.includes(labels[key] ?? ""));
  if (operator === undefined && set === undefined) return (labels) => Object.hasOwn(labels, key);
  return (labels) => Object.hasOwn(labels, key) && values.includes(labels[key] ?? "");
}

function splitOutsideParentheses(text: string): string[] {
  const parts = [""];
  let depth = 0;
  for (const character of text) {
    if (character === "(") depth++;
    if (character === ")") depth--;
    if (character === "," && depth === 0) parts.push("");
    else parts[parts.length - 1] += character;
  }
  return parts;
}

/** Throws a StatusError for a field that the kind cannot be selected by. */
export function fieldSelector(plural: string, text: string): Selector {
  if (text.trim() === "") return () => true;
  const known = ["metadata.name", "metadata.namespace", ...(FIELDS[plural] ?? [])];
  const tests = text.split(",").map((part) => {
    const match = /^([\w.]+)(==|=|!=)(.*)$/.exec(part.trim());
    if (match === null) throw badRequest(`invalid field selector: ${text}`);
    const [, field = "", operator, value = ""] = match;
    if (!known.includes(field)) throw badRequest(`field label not supported: ${field}`);
    return (object: Stored) => {
      const equal = asText(valueAt(object, ...field.split("."))) === value;
      return operator === "!=" ? !equal : equal;
    };
  });
  return (object) => tests.every((test) => test(object));
}

function asText(value: unknown): string {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean"
    ? `${value}`
    : "";
}

/** The selector inside an object such as a Deployment's. An empty one selects everything, none nothing. */
export function objectSelector(selector: LabelSelector | undefined): Selector {
  if (selector === undefined) return () => false;
  return ({ metadata: { labels = {} } }) =>
    Object.entries(selector.matchLabels ?? {}).every(([key, value]) => labels[key] === value) &&
    (selector.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
      const there = Object.hasOwn(labels, key);
      if (operator === "Exists") return there;
      if (operator === "DoesNotExist") return !there;
      const within = there && values.includes(labels[key] ?? "");
      return operator === "In" ? within : !within;
    });
}

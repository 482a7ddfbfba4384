/** Events (core/v1) about objects, as `kubectl describe` shows them. */
import { randomSuffix } from "./defaults.ts";
import { kindNamed } from "./kinds.ts";
import { type Stored, timestamp } from "./objects.ts";
import type { Store } from "./store.ts";

const EVENT = kindNamed("Event");
const KEPT = 500;

export type Recorder = (
  about: Stored,
  type: "Normal" | "Warning",
  reason: string,
  message: string,
  component: string,
) => void;

export function eventRecorder(store: Store): Recorder {
  const made: { readonly namespace: string; readonly name: string }[] = [];
  return (about, type, reason, message, component) => {
    const namespace = about.metadata.namespace ?? "default";
    const name = `${about.metadata.name}.${randomSuffix(16)}`;
    store.create(EVENT, {
      apiVersion: "v1",
      kind: "Event",
      metadata: { name, namespace },
      involvedObject: {
        kind: about.kind,
        namespace,
        name: about.metadata.name,
        uid: about.metadata.uid,
        apiVersion: about.apiVersion,
        resourceVersion: about.metadata.resourceVersion,
      },
      reason,
      message,
      source: { component },
      reportingComponent: component,
      reportingInstance: "",
      firstTimestamp: timestamp(),
      lastTimestamp: timestamp(),
      eventTime: null,
      count: 1,
      type,
    });
    made.push({ namespace, name });
    const oldest = made.length > KEPT ? made.shift() : undefined;
    if (oldest !== undefined && store.find(EVENT, oldest.namespace, oldest.name) !== undefined)
      store.remove(EVENT, oldest.namespace, oldest.name);
  };
}

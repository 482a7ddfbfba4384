/** The kubelet's part: pods that are started, run, end and go away. */
import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { Container, type Exit } from "./containers.ts";
import { addressFor } from "./defaults.ts";
import type { Recorder } from "./events.ts";
import { kindNamed } from "./kinds.ts";
import {
  type ContainerSpec,
  type ContainerStatus,
  type Fields,
  type Pod,
  type Stored,
  timestamp,
} from "./objects.ts";
import type { Store } from "./store.ts";
import { StatusError, badRequest } from "./status.ts";

export const NODE = "node-1";
const POD = kindNamed("Pod");

/** How long an image takes to be pulled and a container to start, in milliseconds. */
const STARTS_AFTER = 60;

type Running = { readonly uid: string; readonly containers: Map<string, Container> };

export class Pods {
  readonly #store: Store;
  readonly #record: Recorder;
  readonly #directory: string;
  readonly #running = new Map<string, Running>();
  readonly #timers = new Set<NodeJS.Timeout>();

  constructor(store: Store, record: Recorder, directory: string) {
    this.#store = store;
    this.#record = record;
    this.#directory = directory;
    makePassable(directory);
    store.watch(store.revision, ({ type, kind, object, previous }) => {
      if (kind !== POD) return;
      const pod = object as Pod;
      if (type === "ADDED") this.#schedule(pod);
      if (type === "DELETED") this.#stop(pod.metadata.uid);
      if (type !== "MODIFIED") return;
      if (
        object.metadata.deletionTimestamp !== undefined &&
        previous?.metadata.deletionTimestamp === undefined
      )
        this.#terminate(pod);
      else this.#startEphemeral(pod);
    });
  }

  /** The container of a pod that runs. Throws a StatusError as the real server answers when it does not. */
  container(namespace: string, name: string, container: string | undefined): Container {
    const pod = this.#store.get(POD, namespace, name) as Pod;
    const specs = [
      ...pod.spec.containers,
      ...(pod.spec.ephemeralContainers ?? []),
      ...(pod.spec.initContainers ?? []),
    ];
    if (container === undefined && pod.spec.containers.length > 1) {
      const names = pod.spec.containers.map((each) => each.name).join(" ");
      throw badRequest(`a container name must be specified for pod ${name}, choose one of: [${names}]`);
    }
    const wanted = container ?? pod.spec.containers[0]?.name ?? "";
    if (!specs.some((each) => each.name === wanted))
      throw badRequest(`container ${wanted} is not valid for pod ${name}`);
    const found = this.#running.get(pod.metadata.uid)?.containers.get(wanted);
    if (found === undefined) {
      throw badRequest(`container "${wanted}" in pod "${name}" is waiting to start: ContainerCreating`);
    }
    return found;
  }

  /** All that a pod was started with. */
  containers(namespace: string, name: string): Container[] {
    const pod = this.#store.get(POD, namespace, name) as Pod;
    return pod.spec.containers.map((each) => this.container(namespace, name, each.name));
  }

  /** For exec and attach: one that has ended takes no more processes. */
  runningContainer(namespace: string, name: string, container: string | undefined): Container {
    const found = this.container(namespace, name, container);
    if (found.exit !== undefined) {
      const why = `cannot exec into a container in a completed pod; current phase is ${this.#phase(namespace, name)}`;
      throw new StatusError(500, "InternalError", `Internal error occurred: ${why}`);
    }
    return found;
  }

  stop(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    for (const uid of [...this.#running.keys()]) this.#stop(uid);
  }

  #phase(namespace: string, name: string): string {
    return (this.#store.get(POD, namespace, name) as Pod).status.phase;
  }

  #later(ms: number, action: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, ms);
    this.#timers.add(timer);
  }

  /** Changes a pod that may have gone away, or be another one of the same name, in the meantime. */
  #change(pod: Stored, change: (pod: Pod) => void): void {
    const { namespace = "", name, uid } = pod.metadata;
    const current = this.#store.find(POD, namespace, name);
    if (current?.metadata.uid !== uid) return;
    const next = structuredClone(current) as Pod;
    change(next);
    this.#store.update(POD, next);
  }

  #schedule(pod: Pod): void {
    this.#later(0, () => {
      this.#change(pod, (next) => {
        next.spec.nodeName ??= NODE;
        next.status = {
          phase: "Pending",
          qosClass: "BestEffort",
          hostIP: "10.0.0.11",
          startTime: timestamp(),
          conditions: conditions(false),
          containerStatuses: next.spec.containers.map((spec) => waiting(spec)),
        };
      });
      const where = `Successfully assigned ${pod.metadata.namespace}/${pod.metadata.name} to ${NODE}`;
      this.#record(pod, "Normal", "Scheduled", where, "default-scheduler");
      this.#later(STARTS_AFTER, () => this.#start(pod));
    });
  }

  #start(pod: Pod): void {
    const { namespace = "", name, uid } = pod.metadata;
    const current = this.#store.find(POD, namespace, name);
    if (current?.metadata.uid !== uid || current.metadata.deletionTimestamp !== undefined) return;
    const running: Running = { uid, containers: new Map() };
    this.#running.set(uid, running);
    makePassable(join(this.#directory, uid));
    for (const spec of pod.spec.containers) this.#startContainer(pod, spec, running);
    this.#change(pod, (next) => {
      next.status.phase = "Running";
      next.status.podIP = addressFor(uid, "10.244");
      next.status["podIPs"] = [{ ip: next.status.podIP }];
      next.status["conditions"] = conditions(true);
      next.status.containerStatuses = next.spec.containers.map((spec) => started(spec, running));
    });
    for (const spec of pod.spec.containers) this.#watchExit(pod, spec, running);
  }

  #startContainer(pod: Pod, spec: ContainerSpec, running: Running): void {
    const container = new Container(
      spec,
      pod.metadata.name,
      join(this.#directory, pod.metadata.uid, spec.name),
    );
    running.containers.set(spec.name, container);
    const record = (reason: string, message: string): void =>
      this.#record(pod, "Normal", reason, message, "kubelet");
    record("Pulled", `Container image "${spec.image}" already present on machine`);
    record("Created", `Created container: ${spec.name}`);
    container.start();
    record("Started", `Started container ${spec.name}`);
  }

  #watchExit(pod: Pod, spec: ContainerSpec, running: Running): void {
    const container = running.containers.get(spec.name);
    if (container === undefined) return;
    const note = (exit: Exit): void => this.#ended(pod, spec, container, exit);
    if (container.exit === undefined) container.once("exit", note);
    else note(container.exit);
  }

  /** No restarts: what has ended has ended, whatever the restart policy. */
  #ended(pod: Pod, spec: ContainerSpec, container: Container, exit: Exit): void {
    this.#change(pod, (next) => {
      for (const list of ["containerStatuses", "ephemeralContainerStatuses"] as const) {
        const found = next.status[list]?.find((each) => each.name === spec.name);
        if (found === undefined) continue;
        found.ready = false;
        found.started = false;
        found.state = { terminated: terminated(container, exit) };
      }
      const states = (next.status.containerStatuses ?? []).map(
        ({ state }) => state["terminated"] as Fields | undefined,
      );
      if (states.every((state) => state !== undefined)) {
        next.status.phase = states.every((state) => state["exitCode"] === 0) ? "Succeeded" : "Failed";
        next.status["conditions"] = conditions(false);
      }
    });
  }

  #startEphemeral(pod: Pod): void {
    const running = this.#running.get(pod.metadata.uid);
    if (running === undefined) return;
    const fresh = (pod.spec.ephemeralContainers ?? []).filter(({ name }) => !running.containers.has(name));
    if (fresh.length === 0) return;
    for (const spec of fresh) this.#startContainer(pod, spec, running);
    this.#later(0, () => {
      this.#change(pod, (next) => {
        next.status.ephemeralContainerStatuses = (next.spec.ephemeralContainers ?? []).map((spec) => {
          const known = next.status.ephemeralContainerStatuses?.find(({ name }) => name === spec.name);
          return known ?? started(spec, running);
        });
      });
      for (const spec of fresh) this.#watchExit(pod, spec, running);
    });
  }

  /** A pod that is to go ends within its grace period here, and is then removed. */
  #terminate(pod: Pod): void {
    this.#later(STARTS_AFTER, () => {
      const { namespace = "", name, uid } = pod.metadata;
      this.#stop(uid);
      if (this.#store.find(POD, namespace, name)?.metadata.uid === uid)
        this.#store.remove(POD, namespace, name);
    });
  }

  #stop(uid: string): void {
    const running = this.#running.get(uid);
    this.#running.delete(uid);
    for (const container of running?.containers.values() ?? []) container.stop();
  }
}

/** For `nobody`, who has to get to its own. */
function makePassable(directory: string): void {
  mkdirSync(directory, { recursive: true });
  chmodSync(directory, 0o711);
}

function waiting({ name, image }: ContainerSpec): ContainerStatus {
  return {
    name,
    image,
    imageID: "",
    ready: false,
    started: false,
    restartCount: 0,
    state: { waiting: { reason: "ContainerCreating" } },
    lastState: {},
  };
}

function started(spec: ContainerSpec, running: Running): ContainerStatus {
  const container = running.containers.get(spec.name);
  return {
    ...waiting(spec),
    ready: true,
    started: true,
    imageID: `demo/${spec.image}`,
    containerID: `demo://${running.uid}/${spec.name}`,
    state: { running: { startedAt: timestamp(container?.startedAt) } },
  };
}

function terminated(container: Container, exit: Exit): Fields {
  return {
    exitCode: exit.code,
    reason: exit.code === 0 ? "Completed" : exit.problem === undefined ? "Error" : "StartError",
    ...(exit.problem === undefined ? {} : { message: exit.problem }),
    startedAt: timestamp(container.startedAt),
    finishedAt: timestamp(),
  };
}

function conditions(ready: boolean): Fields[] {
  const condition = (type: string, is: boolean): Fields => ({
    type,
    status: is ? "True" : "False",
    lastProbeTime: null,
    lastTransitionTime: timestamp(),
  });
  return [
    condition("Initialized", true),
    condition("Ready", ready),
    condition("ContainersReady", ready),
    condition("PodScheduled", true),
  ];
}

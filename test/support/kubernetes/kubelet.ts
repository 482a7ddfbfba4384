/**
 * A node for the real control plane: pods that are created there run here as those of the demo's cluster do, and what
 * kube-apiserver asks of a kubelet (logs, exec, attach, port-forward; over SPDY, as it does) is answered.
 */
import { mkdtempSync, rmSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Authority } from "../../../scripts/demo/kubernetes/certificate.ts";
import { removeObject } from "../../../scripts/demo/kubernetes/controllers.ts";
import { kindNamed } from "../../../scripts/demo/kubernetes/kinds.ts";
import { serveLog } from "../../../scripts/demo/kubernetes/logs.ts";
import type { Pod } from "../../../scripts/demo/kubernetes/objects.ts";
import { NODE, Pods } from "../../../scripts/demo/kubernetes/pods.ts";
import { asStatusError, noSuchPath } from "../../../scripts/demo/kubernetes/status.ts";
import { Store } from "../../../scripts/demo/kubernetes/store.ts";
import { PodStreams, type StreamTarget, refuseUpgrade } from "../../../scripts/demo/kubernetes/streams.ts";
import type { Api } from "./api.ts";

const POD = kindNamed("Pod");

/** Paths of a kubelet: `/exec/shop/orders-api-0/orders-api`. */
const PATH = /^\/(containerLogs|exec|attach|portForward)\/([^/]+)\/([^/]+)(?:\/([^/]+))?$/;

/** Registers the node and serves it until `stop` is called. */
export async function startKubelet(api: Api, authority: Authority): Promise<() => Promise<void>> {
  const directory = mkdtempSync(join(tmpdir(), "sally-kubelet-"));
  const store = new Store();
  const pods = new Pods(store, () => undefined, directory);
  const streams = new PodStreams();
  const { key, certificate } = authority.issue(NODE, [NODE]);
  const server = createServer({ key, cert: certificate }, (request, response) =>
    answer(pods, request, response),
  );
  server.on("upgrade", (request, socket, head) => {
    socket.on("error", () => undefined);
    try {
      const { target, query } = parse(request);
      streams.accept(pods, target, query, { request, socket, head });
    } catch (error) {
      refuseUpgrade(socket, asStatusError(error));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await api.create("/api/v1/nodes", { metadata: { name: NODE } });
  await api.patch(`/api/v1/nodes/${NODE}/status`, {
    status: {
      addresses: [{ type: "InternalIP", address: "127.0.0.1" }],
      daemonEndpoints: { kubeletEndpoint: { Port: port } },
      conditions: [{ type: "Ready", status: "True", reason: "KubeletReady" }],
    },
  });
  const unwatch = reportStatus(store, api);
  const stopWatching = api.watch("/api/v1/pods", (type, object) => follow(store, api, type, object as Pod));
  return async () => {
    stopWatching();
    unwatch();
    pods.stop();
    streams.closeAll();
    server.closeAllConnections();
    await new Promise<void>((resolve) => server.close(() => resolve()));
    rmSync(directory, { recursive: true, force: true });
  };
}

/** What happens to a pod in the control plane happens to the one here. */
function follow(store: Store, api: Api, type: string, pod: Pod): void {
  const { namespace = "", name } = pod.metadata;
  const here = store.find(POD, namespace, name) as Pod | undefined;
  if (type === "DELETED") return here === undefined ? undefined : void store.remove(POD, namespace, name);
  if (pod.spec.nodeName === undefined) {
    const target = { apiVersion: "v1", kind: "Node", name: NODE };
    return api.send("POST", `/api/v1/namespaces/${namespace}/pods/${name}/binding`, {
      apiVersion: "v1",
      kind: "Binding",
      metadata: { name },
      target,
    });
  }
  if (here === undefined) {
    if (pod.metadata.deletionTimestamp === undefined)
      store.create(POD, { ...pod, status: { phase: "Pending" } });
  } else if (pod.metadata.deletionTimestamp !== undefined) removeObject(store, POD, here);
  else if (JSON.stringify(here.spec.ephemeralContainers) !== JSON.stringify(pod.spec.ephemeralContainers)) {
    const ephemeralContainers = pod.spec.ephemeralContainers ?? [];
    store.update(POD, { ...here, spec: { ...here.spec, ephemeralContainers } });
  }
}

function reportStatus(store: Store, api: Api): () => void {
  return store.watch(0, ({ type, object, previous }) => {
    const path = `/api/v1/namespaces/${object.metadata.namespace}/pods/${object.metadata.name}`;
    if (type === "DELETED") api.send("DELETE", path, { gracePeriodSeconds: 0 });
    else if (type === "MODIFIED" && JSON.stringify(object["status"]) !== JSON.stringify(previous?.["status"]))
      api.send("PATCH", `${path}/status`, { status: object["status"] });
  });
}

function answer(pods: Pods, request: IncomingMessage, response: ServerResponse): void {
  try {
    const { target, query } = parse(request);
    if (target.subresource !== "log") throw noSuchPath();
    const container = pods.container(target.namespace, target.name, query.get("container") ?? undefined);
    serveLog(container, query, response);
  } catch (error) {
    const { status } = asStatusError(error);
    response.writeHead(status.code).end(status.message);
  }
}

/** With the words of the API server's own paths. */
function parse(request: IncomingMessage): { target: StreamTarget; query: URLSearchParams } {
  const url = new URL(request.url ?? "/", "https://kubelet");
  const match = PATH.exec(url.pathname);
  if (match === null) throw noSuchPath();
  const [, what = "", namespace = "", name = "", container] = match;
  const query = new URLSearchParams();
  const words: Record<string, string> = { input: "stdin", output: "stdout", error: "stderr", port: "ports" };
  for (const [key, value] of url.searchParams) query.append(words[key] ?? key, value);
  if (container !== undefined) query.set("container", container);
  const subresource = what === "containerLogs" ? "log" : what.toLowerCase();
  return { target: { namespace, name, subresource }, query };
}

/**
 * A Kubernetes API server in TypeScript, for the demo's `prod` and for tests of what needs a kubelet: discovery,
 * OpenAPI, the verbs, watches, tables, server-side apply, logs, exec, attach and port-forward for a handful of
 * kinds. The real kubectl works with it. It is no cluster: commands run on this machine (see containers.ts), there
 * are few roles, no admission, no answers in protobuf, and what it holds is gone when it stops.
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { type Server, createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AuditEvent, AuditLog } from "./audit.ts";
import type { Bindings } from "./authorization.ts";
import { createAuthority } from "./certificate.ts";
import { startControllers } from "./controllers.ts";
import { eventRecorder } from "./events.ts";
import { handleRequest } from "./handler.ts";
import { Pods } from "./pods.ts";
import type { User } from "./request.ts";
import { seed } from "./seed.ts";
import { Store } from "./store.ts";
import { acceptUpgrades } from "./upgrades.ts";

export type KubernetesOptions = {
  /** Default: a free one. */
  readonly port?: number;
  /** Who the token belongs to; default: a service account that may do everything and impersonate anybody. */
  readonly holder?: User;
  /** What impersonated groups may do. */
  readonly bindings?: Bindings;
};

export type Kubernetes = {
  readonly port: number;
  readonly url: string;
  /** PEM of the authority that signed its certificate. */
  readonly ca: string;
  readonly token: string;
  audit(): readonly AuditEvent[];
  stop(): Promise<void>;
};

/** Everything that a request is answered from. */
export type Cluster = {
  readonly store: Store;
  readonly pods: Pods;
  readonly audit: AuditLog;
  readonly token: string;
  readonly holder: User;
  readonly bindings: Bindings;
};

const CONNECTOR: User = {
  username: "system:serviceaccount:kube-system:sallyport",
  groups: ["system:masters"],
};

/** The groups of the demo's users, as the connector names them to the cluster. */
const BINDINGS: Bindings = {
  "sallyport:dba": "admin",
  "sallyport:engineers": "admin",
  "sallyport:agents": "view",
};

/** Starts the server on the loopback interface, with the shop in it. */
export async function startKubernetes(options: KubernetesOptions = {}): Promise<Kubernetes> {
  const directory = mkdtempSync(join(tmpdir(), "sally-kubernetes-"));
  const authority = createAuthority("demo cluster CA");
  const names = ["localhost", "kubernetes", "kubernetes.default.svc"];
  const { key, certificate } = authority.issue("kube-apiserver", names);
  const store = new Store();
  const record = eventRecorder(store);
  const pods = new Pods(store, record, directory);
  const stopControllers = startControllers(store, record);
  seed(store);
  const cluster: Cluster = {
    store,
    pods,
    audit: new AuditLog(),
    token: randomBytes(24).toString("base64url"),
    holder: options.holder ?? CONNECTOR,
    bindings: options.bindings ?? BINDINGS,
  };
  const server = createServer(
    { key, cert: certificate, ALPNProtocols: ["http/1.1"] },
    (request, response) => void handleRequest(cluster, request, response),
  );
  server.requestTimeout = 0;
  const upgrades = acceptUpgrades(cluster);
  server.on("upgrade", upgrades.handle);
  const port = await listen(server, options.port ?? 0);
  return {
    port,
    url: `https://127.0.0.1:${port}`,
    ca: authority.certificate,
    token: cluster.token,
    audit: () => cluster.audit.events(),
    stop: async () => {
      stopControllers();
      pods.stop();
      upgrades.closeAll();
      await close(server);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

function listen(server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => resolve((server.address() as AddressInfo).port));
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

/**
 * A real control plane: etcd and kube-apiserver with RBAC, token authentication, impersonation and an audit log.
 * No controllers run in it, and its one node is ours (kubelet.ts): Pods run, Deployments and Services do nothing.
 */
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AuditEvent } from "../../../scripts/demo/kubernetes/audit.ts";
import { createAuthority } from "../../../scripts/demo/kubernetes/certificate.ts";
import type { Kubernetes } from "../../../scripts/demo/kubernetes/server.ts";
import { freePort } from "../../../scripts/lib/ports.ts";
import { supervise, waitUntilReady } from "../../../scripts/lib/processes.ts";
import { findEtcd, findProgram } from "../programs.ts";
import { type Api, apiClient } from "./api.ts";
import { startKubelet } from "./kubelet.ts";

/** Why there is no real cluster here, or undefined when there can be one. */
export function missingForReal(): string | undefined {
  if (findEtcd() === undefined) return "etcd is not installed";
  if (findProgram("kube-apiserver") === undefined) return "kube-apiserver is not built (.ci/go-programs)";
  return undefined;
}

const AUDIT_POLICY = {
  apiVersion: "audit.k8s.io/v1",
  kind: "Policy",
  omitStages: ["RequestReceived"],
  rules: [{ level: "Metadata" }],
};

/**
 * What the groups of the demo's users may do in the cluster. A controller that does not run here would make the role
 * `view` of this one.
 */
const BINDINGS = {
  dba: "cluster-admin",
  engineers: "cluster-admin",
  agents: "system:aggregate-to-view",
};

export async function startRealCluster(): Promise<Omit<Kubernetes, "port">> {
  const [etcd, apiserver] = [findEtcd(), findProgram("kube-apiserver")];
  if (etcd === undefined || apiserver === undefined) throw new Error(missingForReal());
  const directory = mkdtempSync(join(tmpdir(), "sally-cluster-"));
  const file = (name: string, text?: string): string => {
    const path = join(directory, name);
    if (text !== undefined) writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const ends: (() => Promise<void>)[] = [];
  const stop = async (): Promise<void> => {
    for (const end of ends.splice(0).reverse()) await end();
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    const store = `http://127.0.0.1:${await freePort()}`;
    const peer = `http://127.0.0.1:${await freePort()}`;
    const etcdArguments = {
      "data-dir": file("etcd"),
      "listen-client-urls": store,
      "advertise-client-urls": store,
      "listen-peer-urls": peer,
      "initial-advertise-peer-urls": peer,
      "initial-cluster": `default=${peer}`,
    };
    // Nothing here has to survive a power failure. Not in the list, as it takes no value.
    const quick = "--unsafe-no-fsync";
    const etcdProcess = await supervise({
      name: "etcd",
      command: etcd,
      args: [...flags(etcdArguments), quick],
      logFile: file("etcd.log"),
    });
    // Nothing in it is worth an orderly end, which takes kube-apiserver ten seconds.
    ends.push(() => etcdProcess.stop("SIGKILL"));

    const authority = createAuthority("test cluster CA");
    const issued = authority.issue("kube-apiserver", ["localhost", "kubernetes.default.svc"]);
    const accounts = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const token = randomBytes(24).toString("base64url");
    const port = await freePort();
    const accountKey = file(
      "accounts.key",
      accounts.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    );
    const server = await supervise({
      name: "kube-apiserver",
      command: apiserver,
      args: flags({
        "etcd-servers": store,
        "bind-address": "127.0.0.1",
        "secure-port": String(port),
        "cert-dir": file("certificates"),
        "tls-cert-file": file("server.crt", issued.certificate),
        "tls-private-key-file": file("server.key", issued.key),
        "service-account-key-file": accountKey,
        "service-account-signing-key-file": accountKey,
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-cluster-ip-range": "10.96.0.0/16",
        "token-auth-file": file(
          "tokens.csv",
          `${token},system:serviceaccount:kube-system:sallyport,1,system:masters\n`,
        ),
        "authorization-mode": "RBAC",
        "anonymous-auth": "false",
        "kubelet-preferred-address-types": "InternalIP",
        // Nothing makes the accounts that it would insist on.
        "disable-admission-plugins": "ServiceAccount",
        // Off by default still, and a way in that has to be looked at as the others are.
        "feature-gates": "CBORServingAndStorage=true",
        "audit-policy-file": file("audit-policy.json", JSON.stringify(AUDIT_POLICY)),
        "audit-log-path": file("audit.log"),
        "audit-log-mode": "blocking",
      }),
      logFile: file("kube-apiserver.log"),
    });
    ends.push(() => server.stop("SIGKILL"));

    const url = `https://127.0.0.1:${port}`;
    const api = apiClient(url, authority.certificate, token);
    ends.push(() => api.close());
    await waitUntilReady(server, () => api.isReady("/readyz"), { withinMs: 90_000 });
    ends.push(await startKubelet(api, authority));
    await fill(api);
    return {
      url,
      ca: authority.certificate,
      token,
      audit: () => readAudit(file("audit.log")),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function flags(values: Readonly<Record<string, string>>): string[] {
  return Object.entries(values).map(([name, value]) => `--${name}=${value}`);
}

/** The namespaces, a Secret, a pod and the roles of the demo's cluster. */
async function fill({ create }: Api): Promise<void> {
  for (const name of ["shop", "payments"]) await create("/api/v1/namespaces", { metadata: { name } });
  for (const [group, role] of Object.entries(BINDINGS)) {
    await create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {
      metadata: { name: `demo-${group}` },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: role },
      subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "Group", name: `sallyport:${group}` }],
    });
  }
  const password = "correct-horse-battery-staple";
  await create("/api/v1/namespaces/shop/secrets", {
    metadata: { name: "database-credentials" },
    stringData: {
      username: "orders_rw",
      password,
      url: `postgres://orders_rw:${password}@shop-db.internal:5432/shop`,
    },
  });
  const image = "registry.internal/shop/orders-api:4.2.1";
  await create("/api/v1/namespaces/shop/pods", {
    metadata: { name: "orders-api-0", labels: { app: "orders-api" } },
    spec: { containers: [{ name: "orders-api", image, ports: [{ containerPort: 8080 }] }] },
  });
}

function readAudit(path: string): AuditEvent[] {
  const lines = readFileSync(path, "utf8").split("\n");
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as AuditEvent);
}

/**
 * A real control plane: etcd and kube-apiserver with RBAC, token authentication, impersonation and an audit log.
 * Nothing schedules or runs pods in it (no controller manager, no scheduler, no kubelet): pods are objects only.
 */
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Agent, fetch } from "undici";
import type { AuditEvent } from "../../../scripts/demo/kubernetes/audit.ts";
import { createAuthority } from "../../../scripts/demo/kubernetes/certificate.ts";
import type { Kubernetes } from "../../../scripts/demo/kubernetes/server.ts";
import { freePort } from "../../../scripts/lib/ports.ts";
import { type Supervised, supervise, waitUntilReady } from "../../../scripts/lib/processes.ts";
import { findEtcd, findProgram } from "../programs.ts";

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
  const running: Supervised[] = [];
  const stop = async (): Promise<void> => {
    for (const each of running.splice(0).reverse()) await each.stop("SIGKILL");
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
    running.push(
      await supervise({
        name: "etcd",
        command: etcd,
        args: [...flags(etcdArguments), quick],
        logFile: file("etcd.log"),
      }),
    );

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
        // Nothing makes the accounts that it would insist on.
        "disable-admission-plugins": "ServiceAccount",
        "audit-policy-file": file("audit-policy.json", JSON.stringify(AUDIT_POLICY)),
        "audit-log-path": file("audit.log"),
        "audit-log-mode": "blocking",
      }),
      logFile: file("kube-apiserver.log"),
    });
    running.push(server);

    const url = `https://127.0.0.1:${port}`;
    const agent = new Agent({ connect: { ca: authority.certificate } });
    const ask = async (method: string, path: string, body?: unknown): ReturnType<typeof fetch> => {
      const answer = await fetch(`${url}${path}`, {
        method,
        dispatcher: agent,
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      return answer;
    };
    await waitUntilReady(server, async () => (await ask("GET", "/readyz")).ok, { withinMs: 90_000 });
    await fill(ask);
    await agent.close();
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

type Ask = (method: string, path: string, body?: unknown) => ReturnType<typeof fetch>;

/** The namespaces, Secrets and roles of the demo's cluster, and pods that only look as if they ran. */
async function fill(ask: Ask): Promise<void> {
  const create = async (path: string, object: Record<string, unknown>): Promise<void> => {
    const answer = await ask("POST", path, object);
    if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`);
    await answer.body?.cancel();
  };
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
    spec: { containers: [{ name: "orders-api", image }] },
  });
}

function readAudit(path: string): AuditEvent[] {
  const lines = readFileSync(path, "utf8").split("\n");
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as AuditEvent);
}

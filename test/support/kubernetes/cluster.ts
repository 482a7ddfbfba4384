/** A Kubernetes API server to test against. */
import { type Kubernetes, startKubernetes } from "../../../scripts/demo/kubernetes/server.ts";

export type ClusterKind = "typescript";

export type TestCluster = Pick<Kubernetes, "url" | "ca" | "token" | "audit" | "stop"> & {
  readonly kind: ClusterKind;
  /** For `kubectl --kubeconfig`, without the gateway. */
  kubeconfig(): string;
};

/** `typescript` is the demo's server, which has pods to run commands in. */
export async function startCluster({ kind }: { readonly kind: ClusterKind }): Promise<TestCluster> {
  const server = await startKubernetes();
  const { url, ca, token } = server;
  return { ...server, kind, kubeconfig: () => kubeconfigOf({ url, ca, token }) };
}

/** JSON is YAML. */
function kubeconfigOf({ url, ca, token }: Pick<Kubernetes, "url" | "ca" | "token">): string {
  const authority = Buffer.from(ca).toString("base64");
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "cluster", cluster: { server: url, "certificate-authority-data": authority } }],
    users: [{ name: "user", user: { token } }],
    contexts: [{ name: "context", context: { cluster: "cluster", user: "user", namespace: "shop" } }],
    "current-context": "context",
  });
}

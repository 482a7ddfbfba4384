/** Kubernetes API servers to test against. */
import { type Kubernetes, startKubernetes } from "../../../scripts/demo/kubernetes/server.ts";
import { missingForReal, startRealCluster } from "./real.ts";

export { missingForReal };

export type ClusterKind = "real" | "typescript";

export type TestCluster = Omit<Kubernetes, "port"> & {
  readonly kind: ClusterKind;
  /** For `kubectl --kubeconfig`, without the gateway. */
  kubeconfig(): string;
};

/**
 * `real` is a kube-apiserver with etcd, whose pods are objects only; it fails with the reason where there is none
 * (`missingForReal`). `typescript` is the demo's server, which has pods to run commands in. Both have the namespaces
 * `shop` and `payments`, the Secret `shop/database-credentials`, and roles for the groups sallyport:dba,
 * sallyport:engineers and sallyport:agents.
 */
export async function startCluster({ kind }: { readonly kind: ClusterKind }): Promise<TestCluster> {
  const server = kind === "real" ? await startRealCluster() : await startKubernetes();
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

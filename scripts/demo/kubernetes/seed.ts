/** What runs in the demo's cluster: a shop and its payments. */
import { complete } from "./defaults.ts";
import { apiVersionOf, kindNamed } from "./kinds.ts";
import { type Fields, type Stored } from "./objects.ts";
import type { Draft, Store } from "./store.ts";

export function seed(store: Store): void {
  const add = (kind: string, namespace: string, name: string, fields: Fields): void => {
    const found = kindNamed(kind);
    const metadata: Draft["metadata"] = { name, ...(namespace === "" ? {} : { namespace }) };
    const object = { apiVersion: apiVersionOf(found), kind, metadata, ...fields } as unknown as Stored;
    if (kind === "Deployment") object.metadata.generation = 1;
    complete(found, object);
    store.create(found, object);
  };
  for (const name of ["default", "kube-system", "kube-public", "shop", "payments"])
    add("Namespace", "", name, {});
  add("Node", "", "node-1", {
    spec: { podCIDR: "10.244.0.0/24" },
    status: {
      conditions: [{ type: "Ready", status: "True", reason: "KubeletReady" }],
      addresses: [{ type: "InternalIP", address: "10.0.0.11" }],
      nodeInfo: {
        kubeletVersion: "v1.33.13",
        osImage: "Demo Linux",
        architecture: "amd64",
        operatingSystem: "linux",
      },
      capacity: { cpu: "4", memory: "16Gi", pods: "110" },
      allocatable: { cpu: "4", memory: "16Gi", pods: "110" },
    },
  });
  add("Secret", "shop", "database-credentials", {
    stringData: {
      username: "orders_rw",
      password: "correct-horse-battery-staple",
      url: "postgres://orders_rw:correct-horse-battery-staple@shop-db.internal:5432/shop",
    },
  });
  add("Secret", "payments", "acquirer-api-key", { stringData: { key: "acq_live_7f3d9b2c51e84a06" } });
  add("ConfigMap", "shop", "orders-api", { data: { "config.yaml": "logLevel: info\ncurrency: EUR\n" } });
  add("ConfigMap", "payments", "payments-api", { data: { provider: "acquirer.internal", retries: "3" } });
  service("shop", "orders-api", 8080);
  service("shop", "storefront", 3000);
  service("payments", "payments-api", 8443);
  deployment("shop", "orders-api", "registry.internal/shop/orders-api:4.2.1", 2, 8080, [
    { name: "DATABASE_URL", valueFrom: { secretKeyRef: { name: "database-credentials", key: "url" } } },
  ]);
  deployment("shop", "storefront", "registry.internal/shop/storefront:2.0.3", 2, 3000, []);
  deployment("payments", "payments-api", "registry.internal/payments/payments-api:1.9.0", 1, 8443, []);
  deployment("payments", "settlement", "registry.internal/payments/worker:1.9.0", 1, undefined, []);

  function service(namespace: string, name: string, port: number): void {
    add("Service", namespace, name, { spec: { selector: { app: name }, ports: [{ name: "http", port }] } });
  }

  function deployment(
    namespace: string,
    name: string,
    image: string,
    replicas: number,
    port: number | undefined,
    env: Fields[],
  ): void {
    const container = {
      name,
      image,
      ...(env.length === 0 ? {} : { env }),
      ...(port === undefined ? {} : { ports: [{ name: "http", containerPort: port }] }),
      resources: { requests: { cpu: "100m", memory: "128Mi" }, limits: { memory: "256Mi" } },
    };
    add("Deployment", namespace, name, {
      spec: {
        replicas,
        selector: { matchLabels: { app: name } },
        template: { metadata: { labels: { app: name } }, spec: { containers: [container] } },
      },
    });
  }
}

/** A whole system with a cluster behind its connector, and the real kubectl in front of it. */
import { execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { OidcUserName } from "../../scripts/lib/oidc-users.ts";
import { type ClusterKind, type TestCluster, startCluster } from "./kubernetes/cluster.ts";
import { type NativeCall, type NativeResult, type RunningNative, startNative } from "./native-process.ts";
import {
  type PrivateStack,
  type RunningSally,
  type SallyCall,
  type SallyResult,
  startPrivateStack,
} from "./stack.ts";
import { testConfiguration } from "./test-system.ts";

export const CLUSTER = "test-cluster";
/** The same cluster; detectors hide what they find in logs and output, and everybody is impersonated. */
export const WATCHED = "watched-cluster";

/** The same cluster; what detectors find ends the answer or the stream. */
export const BLOCKED = "blocked-cluster";
/** Whatever listens on the port that the stack was given. */
export const RAW = "raw-cluster";
/** The connector's token for it. */
export const RAW_TOKEN = "the-cluster-token";

export type KubernetesStack = {
  readonly stack: PrivateStack;
  readonly cluster: TestCluster;
  /** Runs `sally kubectl` as that user. */
  kubectl(user: OidcUserName, args: readonly string[], options?: KubectlCall): Promise<SallyResult>;
  startKubectl(user: OidcUserName, args: readonly string[], options?: KubectlCall): RunningSally;
  /** A kubeconfig that leads to the cluster as that user, open until the stack stops: saves starting sally each time. */
  door(user: OidcUserName, resource?: string, sally?: readonly string[]): Promise<Door>;
  stop(): Promise<void>;
};

export type Door = {
  readonly environment: NodeJS.ProcessEnv;
  /** Address of the port. */
  readonly url: string;
  /** Runs the real kubectl there. */
  kubectl(args: readonly string[], options?: NativeCall): Promise<NativeResult>;
  /** Starts it. */
  start(args: readonly string[], options?: NativeCall): RunningNative;
};

export type KubectlCall = SallyCall & {
  readonly resource?: string;
  /** Options of sally's own. */
  readonly sally?: readonly string[];
};

const RESOURCES = `
  ${BLOCKED}:
    protocol: kubernetes
    connector: demo
    detectors: block
  ${RAW}:
    protocol: kubernetes
    connector: demo
  ${CLUSTER}:
    protocol: kubernetes
    connector: demo
    kubernetes: { masks: { configmaps: { data.password: full } } }
  ${WATCHED}:
    protocol: kubernetes
    connector: demo
    detectors: mask
`;

const POLICIES = `
@id("dba-everything")
permit (principal in Group::"dba", action, resource);

@id("kube-look")
permit (principal in Group::"engineers", action in [Action::"kubernetes:discover", Action::"kubernetes:get",
  Action::"kubernetes:list", Action::"kubernetes:watch", Action::"kubernetes:create", Action::"kubernetes:update",
  Action::"kubernetes:patch", Action::"kubernetes:portforward", Action::"kubernetes:proxy",
  Action::"kubernetes:attach"], resource);

@id("kube-exec")
permit (principal in Group::"engineers", action == Action::"kubernetes:exec", resource)
when { context.resource == "pods" }
unless { context.program == "reboot" };

@id("kube-no-secrets-deleted")
@reason("secrets stay")
forbid (principal, action in [Action::"kubernetes:delete", Action::"kubernetes:deletecollection"], resource)
when { context.resource == "secrets" };

@id("kube-delete")
permit (principal in Group::"engineers", action == Action::"kubernetes:delete", resource)
unless { context.namespace == "guarded" };

@id("kube-delete-guarded")
@approval("dba")
permit (principal in Group::"engineers", action == Action::"kubernetes:delete", resource)
when { context.namespace == "guarded" };

@id("kube-exec-reboot")
@approval("dba")
permit (principal in Group::"engineers", action == Action::"kubernetes:exec", resource)
when { context.program == "reboot" };

@id("kube-no-privileged")
@reason("no privileged pods")
forbid (principal in Group::"engineers", action in [Action::"kubernetes:create", Action::"kubernetes:update",
  Action::"kubernetes:patch"], resource)
when { context.body.privileged };
`;

/** @throws when there is no kubectl: without it these tests would prove nothing */
export async function startKubernetesStack(
  kind: ClusterKind = "typescript",
  options: { readonly rawPort?: number } = {},
): Promise<KubernetesStack> {
  requireKubectl();
  const cluster = await startCluster({ kind });
  const directory = await mkdtemp(join(tmpdir(), "sallyport-cluster-"));
  const token = join(directory, "token");
  const ca = join(directory, "ca.pem");
  await writeFile(token, cluster.token, { mode: 0o600 });
  await writeFile(ca, cluster.ca);
  const reached = { protocol: "kubernetes", address: cluster.url, token: `file:${token}`, ca };
  process.env["RAW_CLUSTER_TOKEN"] = RAW_TOKEN;
  const stack = await startPrivateStack({
    configuration: async (values) => {
      const files = await testConfiguration(values);
      return {
        ...files,
        "sallyport.yaml": `${files["sallyport.yaml"] ?? ""}${RESOURCES}`,
        // The demo's own would decide besides these.
        "policies.cedar": POLICIES,
      };
    },
    databases: [],
    resources: () => ({
      [CLUSTER]: reached,
      [BLOCKED]: reached,
      [WATCHED]: { ...reached, impersonate: true },
      [RAW]: {
        protocol: "kubernetes",
        address: `http://127.0.0.1:${options.rawPort ?? 1}`,
        token: "env:RAW_CLUSTER_TOKEN",
        impersonate: true,
      },
    }),
  });
  await stack.system.waitUntilOnline(CLUSTER);
  const words = (args: readonly string[], call: KubectlCall): string[] => {
    const { resource = CLUSTER, sally = [] } = call;
    return ["kubectl", resource, ...sally, "--", ...args];
  };
  const doors: RunningSally[] = [];
  return {
    stack,
    cluster,
    kubectl: (user, args, call = {}) => stack.sally(user, words(args, call), call),
    startKubectl: (user, args, call = {}) => stack.startSally(user, words(args, call), call),
    door: async (user, resource = CLUSTER, sally = []) => {
      const script = 'echo "kubeconfig $KUBECONFIG"; grep server: "$KUBECONFIG"; cat > /dev/null';
      const call = { timeout: 30 * 60_000 };
      const running = stack.startSally(user, ["run", resource, ...sally, "--", "sh", "-c", script], call);
      doors.push(running);
      const [, kubeconfig = "", url = ""] = await running.waitFor(
        "stdout",
        /kubeconfig (\S+)\s+server: (\S+)/,
      );
      const environment = {
        ...process.env,
        KUBECONFIG: kubeconfig,
        KUBECACHEDIR: join(directory, `cache-${doors.length}`),
      };
      const start = (args: readonly string[], options: NativeCall = {}): RunningNative =>
        startNative("kubectl", args, { ...options, env: { ...environment, ...options.env } });
      return {
        environment,
        url,
        start,
        kubectl: (args, options = {}) => {
          const native = start(args, options);
          if (options.input !== undefined) native.write(options.input);
          native.endInput();
          return native.result;
        },
      };
    },
    stop: async () => {
      for (const door of doors) {
        door.endInput();
        await door.result;
      }
      await stack.stop();
      await cluster.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** WebSockets for exec and port-forward are the default from this version on. */
const OLDEST = 31;

export function requireKubectl(): void {
  let text: string;
  try {
    text = execFileSync("kubectl", ["version", "--client", "--output=json"], { encoding: "utf8" });
  } catch {
    throw new Error(
      "there is no kubectl on the PATH: install 1.31 or newer (https://kubernetes.io/docs/tasks/tools/)",
    );
  }
  const minor = /"minor":\s*"(\d+)/.exec(text)?.[1];
  if (Number(minor) < OLDEST)
    throw new Error(`kubectl is too old for these tests: 1.${minor}, needed 1.${OLDEST}`);
}

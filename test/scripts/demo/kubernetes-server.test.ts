import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { Agent, fetch } from "undici";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { freePort } from "../../../scripts/lib/ports.ts";
import { KINDS } from "../../../scripts/demo/kubernetes/kinds.ts";
import {
  type ClusterKind,
  type TestCluster,
  missingForReal,
  startCluster,
} from "../../support/kubernetes/cluster.ts";

type Ran = { readonly code: number; readonly stdout: string; readonly stderr: string };

const missing = missingForReal();
if (missing !== undefined)
  process.stderr.write(`kubernetes: no comparison with a real API server: ${missing}\n`);

class Subject {
  readonly cluster: TestCluster;
  readonly #directory: string;
  readonly #agent: Agent;

  constructor(cluster: TestCluster) {
    this.cluster = cluster;
    this.#directory = mkdtempSync(join(tmpdir(), "sally-kubectl-"));
    this.#agent = new Agent({ connect: { ca: cluster.ca } });
    writeFileSync(this.file("config"), cluster.kubeconfig(), { mode: 0o600 });
  }

  kubectl(args: readonly string[], input = ""): Promise<Ran> {
    return new Promise((resolve) => {
      const all = ["--kubeconfig", this.file("config"), ...args];
      const env = { ...process.env, HOME: this.#directory };
      const child = execFile("kubectl", all, { timeout: 50_000, env }, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code ?? 255), stdout, stderr }),
      );
      child.stdin?.end(input);
    });
  }

  /** As kubectl names it: `pod/orders-api-0`. */
  async readyPod(): Promise<string> {
    const wait = ["wait", "--for=condition=Ready", "pod", "-l", "app=orders-api", "--timeout=40s"];
    // It fails at once while there are none.
    const deadline = Date.now() + 40_000;
    while ((await this.kubectl(wait)).code !== 0 && Date.now() < deadline);
    const { stdout } = await this.kubectl(["get", "pods", "-l", "app=orders-api", "-o", "name"]);
    return stdout.split("\n")[0] ?? "";
  }

  start(args: readonly string[]): { stdout: Readable; said(): string; kill(): void } {
    const all = ["--kubeconfig", this.file("config"), ...args];
    const env = { ...process.env, HOME: this.#directory };
    const child = spawn("kubectl", all, { env, stdio: ["ignore", "pipe", "pipe"], timeout: 50_000 });
    let said = "";
    child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
    return { stdout: child.stdout, said: () => said, kill: () => void child.kill() };
  }

  file(name: string): string {
    return join(this.#directory, name);
  }

  async get(path: string, accept = "application/json"): Promise<Record<string, unknown>> {
    const { url, token } = this.cluster;
    const headers = { authorization: `Bearer ${token}`, accept };
    const answer = await fetch(`${url}${path}`, { dispatcher: this.#agent, headers });
    return (await answer.json()) as Record<string, unknown>;
  }

  async stop(): Promise<void> {
    await this.#agent.close();
    await this.cluster.stop();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** One of each for all tests here. */
const started = new Map<ClusterKind, Promise<Subject>>();
const subjectOf = (kind: ClusterKind): Promise<Subject> => {
  const found = started.get(kind) ?? startCluster({ kind }).then((cluster) => new Subject(cluster));
  started.set(kind, found);
  return found;
};
afterAll(async () => {
  for (const subject of started.values()) await (await subject).stop();
});

const CASES: readonly { kind: ClusterKind; name: string; skip: boolean }[] = [
  { kind: "typescript", name: "the demo's Kubernetes API server", skip: false },
  {
    kind: "real",
    name: missing === undefined ? "a real kube-apiserver" : `a real kube-apiserver (NOT RUN: ${missing})`,
    skip: missing !== undefined,
  },
];

for (const { kind, name, skip } of CASES) {
  describe.skipIf(skip)(`${name}, with the real kubectl`, () => {
    let subject: Subject;
    beforeAll(async () => {
      subject = await subjectOf(kind);
    });

    it("applies with server-side apply, tells who owns a field, and refuses fields that do not exist", async () => {
      const manifest = (data: string): string =>
        `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"owned"},"data":${data}}`;
      const apply = (manager: string, data: string): Promise<Ran> =>
        subject.kubectl(["apply", "--server-side", `--field-manager=${manager}`, "-f", "-"], manifest(data));
      expect(await apply("one", '{"a":"1","b":"2"}')).toMatchObject({ code: 0 });
      expect((await apply("two", '{"a":"9"}')).stderr).toContain('conflict with "one": .data.a');
      expect(await apply("one", '{"a":"1"}')).toMatchObject({ code: 0 });
      const { stdout } = await subject.kubectl(["get", "configmap", "owned", "-o", "jsonpath={.data}"]);
      expect(stdout).toBe('{"a":"1"}');
      const wrong = await subject.kubectl(["apply", "-f", "-"], manifest('{},"dato":{}'));
      expect(wrong.stderr).toContain('unknown field "dato"');
    });

    it("applies from the client, in three ways of patching, and tells what would change", async () => {
      const manifest = (image: string): string =>
        JSON.stringify({
          apiVersion: "v1",
          kind: "Pod",
          metadata: { name: "patched" },
          spec: { containers: [{ name: "one", image }], restartPolicy: "Never" },
        });
      const steps: readonly (readonly [readonly string[], string])[] = [
        [["apply", "-f", "-"], manifest("registry.internal/echo:1")],
        [["apply", "-f", "-"], manifest("registry.internal/echo:2")],
        [["patch", "pod", "patched", "-p", '{"metadata":{"labels":{"a":"1"}}}'], ""],
        [["patch", "pod", "patched", "--type=merge", "-p", '{"metadata":{"labels":{"b":"2"}}}'], ""],
        [
          [
            "patch",
            "pod",
            "patched",
            "--type=json",
            "-p",
            '[{"op":"remove","path":"/metadata/labels/a"},{"op":"add","path":"/metadata/labels/c","value":"3"}]',
          ],
          "",
        ],
      ];
      for (const [args, input] of steps)
        expect(await subject.kubectl(args, input)).toMatchObject({ code: 0 });
      const seen = await subject.kubectl([
        "get",
        "pod",
        "patched",
        "-o",
        "jsonpath={.spec.containers[*].image} {.metadata.labels}",
      ]);
      expect(seen.stdout).toBe('registry.internal/echo:2 {"b":"2","c":"3"}');
      const dry = await subject.kubectl(["delete", "pod", "patched", "--dry-run=server"]);
      expect(dry.stdout).toContain("(server dry run)");
      const immutable = await subject.kubectl(
        ["patch", "pod", "patched", "-p", '{"spec":{"containers":[{"name":"one","command":["sh"]}]}}'],
        "",
      );
      expect(immutable.stderr).toContain("pod updates may not change fields other than");
    });

    it("acts as whom it is told to, and says so in its audit log", async () => {
      const asAgent = ["--as", "eve@example.com", "--as-group", "sallyport:agents"];
      expect((await subject.kubectl(["get", "pods", ...asAgent])).stderr).not.toContain("forbidden");
      expect((await subject.kubectl(["auth", "can-i", "delete", "pods", ...asAgent])).stdout).toBe("no\n");
      expect((await subject.kubectl(["auth", "can-i", "list", "pods", ...asAgent])).stdout).toBe("yes\n");
      expect((await subject.kubectl(["get", "secrets", ...asAgent])).stderr).toContain(
        'secrets is forbidden: User "eve@example.com" cannot list resource "secrets"',
      );
      expect(subject.cluster.audit()).toContainEqual(
        expect.objectContaining({
          verb: "list",
          user: expect.objectContaining({ username: "system:serviceaccount:kube-system:sallyport" }),
          impersonatedUser: {
            username: "eve@example.com",
            groups: ["sallyport:agents", "system:authenticated"],
          },
          objectRef: expect.objectContaining({ resource: "secrets", namespace: "shop" }),
          responseStatus: expect.objectContaining({ code: 403 }),
        }),
      );
    });

    it("explains a field and creates what kubectl sends in protobuf", async () => {
      expect((await subject.kubectl(["explain", "pod.spec.containers.image"])).stdout).toContain(
        "FIELD: image <string>",
      );
      const made = ["create", "secret", "generic", "made", "--from-literal=a=b"];
      expect(await subject.kubectl(made)).toMatchObject({ code: 0 });
      const { stdout } = await subject.kubectl(["get", "secret", "made", "-o", "jsonpath={.data.a} {.type}"]);
      expect(stdout).toBe("Yg== Opaque");
    });

    it("runs a command in a pod with its input, both outputs and its exit code", async () => {
      const pod = await subject.readyPod();
      const command = ["sh", "-c", "cat; echo oops >&2; exit 3"];
      const ran = await subject.kubectl(["exec", "-i", pod, "--", ...command], "typed\n");
      expect(ran).toMatchObject({ code: 3, stdout: "typed\n" });
      expect(ran.stderr).toContain("oops\n");
      const unknown = await subject.kubectl(["exec", pod, "--", "no-such-program"]);
      expect(unknown.stderr).toContain("executable file not found in $PATH");
    });

    it("starts a pod with what it is told to run, and ends it as that ends", async () => {
      const command = ["--image=busybox", "--restart=Never", "--", "sh", "-c", "echo one; exit 4"];
      expect(await subject.kubectl(["run", "ends", ...command])).toMatchObject({ code: 0 });
      const phase = "--for=jsonpath={.status.phase}=Failed";
      expect(await subject.kubectl(["wait", phase, "pod/ends", "--timeout=40s"])).toMatchObject({ code: 0 });
      expect((await subject.kubectl(["logs", "ends"])).stdout).toBe("one\n");
      const code = "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}";
      expect((await subject.kubectl(["get", "pod", "ends", "-o", code])).stdout).toBe("4");
      expect(await subject.kubectl(["delete", "pod", "ends", "--timeout=40s"])).toMatchObject({ code: 0 });
    });

    it("copies a file into a pod and out of it", async () => {
      const pod = (await subject.readyPod()).replace("pod/", "");
      const content = randomBytes(700_000);
      const [there, back] = [subject.file("there"), subject.file("back")];
      writeFileSync(there, content);
      expect(await subject.kubectl(["cp", there, `${pod}:copied`])).toMatchObject({ code: 0 });
      expect(await subject.kubectl(["cp", `${pod}:copied`, back])).toMatchObject({ code: 0 });
      expect(readFileSync(back).equals(content)).toBe(true);
    });

    it("forwards a port to a pod", async () => {
      const pod = await subject.readyPod();
      const port = await freePort();
      const forwarding = subject.start(["port-forward", pod, `${port}:8080`, "-v=7"]);
      await once(forwarding.stdout, "data");
      const answer = await fetch(`http://127.0.0.1:${port}/some/path`, { method: "POST", body: "abc" });
      expect(await answer.json()).toMatchObject({ method: "POST", path: "/some/path", bytes: 3 });
      // Not the older way that kubectl falls back to, which no gateway of ours could take.
      expect(forwarding.said()).not.toContain("fallback");
      forwarding.kill();
    });

    it("puts a container into a pod to debug it", async () => {
      const pod = (await subject.readyPod()).replace("pod/", "");
      const container = `debugger-${randomBytes(4).toString("hex")}`;
      const command = ["--image=busybox", "-c", container, "--profile=general", "--", "echo", "looked"];
      expect(await subject.kubectl(["debug", pod, ...command])).toMatchObject({ code: 0 });
      await expect
        .poll(async () => (await subject.kubectl(["logs", pod, "-c", container])).stdout, {
          timeout: 30_000,
        })
        .toBe("looked\n");
    });
  });
}

describe.skipIf(missing !== undefined)("what the demo's server says, beside the real one", () => {
  let ours: Subject;
  let real: Subject;
  beforeAll(async () => {
    ours = await subjectOf("typescript");
    real = await subjectOf("real");
  });

  const stored = KINDS.filter(({ verbs }) => verbs.includes("list"));
  const pathOf = (each: (typeof stored)[number]): string =>
    `/${each.group === "" ? "api" : `apis/${each.group}`}/v1/${each.plural}`;

  it("has the same columns in its tables", async () => {
    const columns = async (subject: Subject, path: string): Promise<unknown> => {
      const accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
      const { columnDefinitions } = await subject.get(path, accept);
      return (columnDefinitions as { name: string; type: string }[]).map(
        ({ name, type }) => `${name} ${type}`,
      );
    };
    const seen = Object.fromEntries(
      await Promise.all(stored.map(async (each) => [each.kind, await columns(ours, pathOf(each))])),
    ) as unknown;
    const wanted = Object.fromEntries(
      await Promise.all(stored.map(async (each) => [each.kind, await columns(real, pathOf(each))])),
    ) as unknown;
    expect(seen).toEqual(wanted);
  });

  it("says the same about each resource in its discovery", async () => {
    for (const path of ["/api/v1", "/apis/apps/v1"]) {
      const theirs = (await real.get(path))["resources"] as Record<string, unknown>[];
      for (const resource of (await ours.get(path))["resources"] as Record<string, unknown>[]) {
        const found = theirs.find(({ name }) => name === resource["name"]);
        const { storageVersionHash: _hash, ...wanted } = found ?? {};
        expect(resource).toEqual(wanted);
      }
    }
  });

  it("has its schemas, but for the descriptions", async () => {
    const schemas = async (subject: Subject, path: string): Promise<Record<string, unknown>> => {
      const { components } = await subject.get(`/openapi/v3/${path}`);
      const bare = JSON.stringify(components, (key, value: unknown) =>
        key === "description" && typeof value === "string" ? undefined : value,
      );
      return (JSON.parse(bare) as { schemas: Record<string, unknown> }).schemas;
    };
    for (const path of ["api/v1", "apis/apps/v1"]) {
      const wanted = await schemas(real, path);
      const seen = await schemas(ours, path);
      expect(Object.keys(seen).length).toBeGreaterThan(20);
      for (const [name, schema] of Object.entries(seen))
        expect({ name, schema }).toEqual({ name, schema: wanted[name] });
    }
  });
});

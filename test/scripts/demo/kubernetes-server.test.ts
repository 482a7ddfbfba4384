import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type TestCluster, startCluster } from "../../support/kubernetes/cluster.ts";

type Ran = { readonly code: number; readonly stdout: string; readonly stderr: string };

describe("the demo's Kubernetes API server, with the real kubectl", () => {
  let cluster: TestCluster;
  let directory: string;
  let pod: string;

  const kubectl = (args: readonly string[], input = ""): Promise<Ran> =>
    new Promise((resolve) => {
      const all = ["--kubeconfig", join(directory, "config"), ...args];
      const env = { ...process.env, HOME: directory };
      const child = execFile("kubectl", all, { timeout: 50_000, env }, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code ?? 255), stdout, stderr }),
      );
      child.stdin?.end(input);
    });

  beforeAll(async () => {
    cluster = await startCluster({ kind: "typescript" });
    directory = mkdtempSync(join(tmpdir(), "sally-kubectl-"));
    writeFileSync(join(directory, "config"), cluster.kubeconfig(), { mode: 0o600 });
    const ready = await kubectl([
      "wait",
      "--for=condition=Available",
      "deployment",
      "--all",
      "--timeout=40s",
    ]);
    if (ready.code !== 0) throw new Error(ready.stderr);
    const { stdout } = await kubectl(["get", "pods", "-l", "app=orders-api", "-o", "name"]);
    pod = stdout.split("\n")[0] ?? "";
  });
  afterAll(async () => {
    await cluster.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  it("runs a command in a pod with its input, both outputs and its exit code", async () => {
    const ran = await kubectl(["exec", "-i", pod, "--", "sh", "-c", "cat; echo oops >&2; exit 3"], "typed\n");
    expect(ran).toMatchObject({ code: 3, stdout: "typed\n" });
    expect(ran.stderr).toContain("oops\n");
  });

  it("applies with server-side apply, tells who owns a field, and refuses fields that do not exist", async () => {
    const manifest = (data: string): string =>
      `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"owned"},"data":${data}}`;
    const apply = (manager: string, data: string): Promise<Ran> =>
      kubectl(["apply", "--server-side", `--field-manager=${manager}`, "-f", "-"], manifest(data));
    expect(await apply("one", '{"a":"1","b":"2"}')).toMatchObject({ code: 0 });
    expect((await apply("two", '{"a":"9"}')).stderr).toContain('conflict with "one": .data.a');
    expect(await apply("one", '{"a":"1"}')).toMatchObject({ code: 0 });
    const { stdout } = await kubectl(["get", "configmap", "owned", "-o", "jsonpath={.data}"]);
    expect(stdout).toBe('{"a":"1"}');
    const wrong = await kubectl(["apply", "-f", "-"], manifest('{},"dato":{}'));
    expect(wrong.stderr).toContain('unknown field "dato"');
  });

  it("acts as whom it is told to, and says so in its audit log", async () => {
    const asAgent = ["--as", "eve@example.com", "--as-group", "agents"];
    expect((await kubectl(["get", "pods", ...asAgent])).stdout).toContain("orders-api-");
    expect((await kubectl(["get", "secrets", ...asAgent])).stderr).toContain(
      'secrets is forbidden: User "eve@example.com" cannot list resource "secrets"',
    );
    expect(cluster.audit()).toContainEqual(
      expect.objectContaining({
        verb: "list",
        user: expect.objectContaining({ username: "system:serviceaccount:kube-system:sallyport" }),
        impersonatedUser: { username: "eve@example.com", groups: ["agents", "system:authenticated"] },
        objectRef: expect.objectContaining({ resource: "secrets", namespace: "shop" }),
        responseStatus: { code: 403 },
      }),
    );
  });
});

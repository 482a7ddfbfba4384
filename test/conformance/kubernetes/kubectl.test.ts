/** The real kubectl on a cluster behind the gateway. */
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { freePort } from "../../../scripts/lib/ports.ts";
import {
  type Door,
  type KubernetesStack,
  WATCHED,
  startKubernetesStack,
} from "../../support/kubernetes-stack.ts";

/** What a masked value of a Secret is shown as: `****` in base64. */
const MASKED = "KioqKg==";
const PASSWORD = "correct-horse-battery-staple";

let kubernetes: KubernetesStack;
let door: Door;
let directory: string;

beforeAll(async () => {
  kubernetes = await startKubernetesStack();
  door = await kubernetes.door("engineer");
  directory = await mkdtemp(join(tmpdir(), "kubectl-"));
});
afterAll(async () => {
  await kubernetes?.stop();
  await rm(directory, { recursive: true, force: true });
});

/** Name of a pod of that app in namespace `shop`. */
async function podOf(app: string): Promise<string> {
  const found = await door.kubectl(["get", "pods", "-n", "shop", "-o", "name"]);
  return found.stdout.split("\n").find((line) => line.includes(app)) ?? "";
}

async function file(name: string, text: string): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, text);
  return path;
}

const configMap = (name: string, data: string): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: { name: ${name}, namespace: default }\ndata: { note: ${data} }\n`;

describe("reading", () => {
  it("get, describe, explain and auth can-i", async () => {
    const pods = await door.kubectl(["get", "pods", "-A"]);
    expect(pods.stderr).toBe("");
    expect(pods.stdout).toMatch(/shop\s+orders-api-\S+\s+1\/1\s+Running/);
    const described = await door.kubectl(["describe", "deployment", "orders-api", "-n", "shop"]);
    expect(described.stdout).toMatch(/Image:\s+registry.internal\/shop\/orders-api/);
    const explained = await door.kubectl(["explain", "configmaps.data"]);
    expect(explained).toMatchObject({ code: 0 });
    expect(explained.stdout).toContain("ConfigMap");
    expect((await door.kubectl(["auth", "can-i", "delete", "pods", "-n", "shop"])).stdout).toBe("yes\n");
  });

  it("a Secret is masked in YAML, JSON, jsonpath, a list and a watch, and its keys are not", async () => {
    const secret = ["get", "secret", "-n", "shop", "database-credentials"];
    for (const form of ["yaml", "json", "jsonpath={.data.password}"]) {
      const { stdout, code } = await door.kubectl([...secret, "-o", form]);
      expect({ form, code }).toEqual({ form, code: 0 });
      expect(stdout).toContain(MASKED);
      expect(stdout).not.toContain(Buffer.from(PASSWORD).toString("base64"));
    }
    expect((await door.kubectl(secret)).stdout).toMatch(/database-credentials\s+Opaque\s+3/);
    const list = await door.kubectl(["get", "secrets", "-A", "-o", "json"]);
    expect(list.stdout).toContain(MASKED);
    expect(list.stdout).not.toContain(Buffer.from(PASSWORD).toString("base64"));
    const watch = door.start([...secret, "-o", "yaml", "--watch"]);
    await watch.waitFor("stdout", /type: Opaque/);
    watch.kill();
    expect((await watch.result).stdout).toContain(`password: ${MASKED}`);
  });

  it("is the same for a reviewer with reveal, unmasked", async () => {
    const seen = await kubernetes.kubectl("reviewer-a", [
      ...["get", "secret", "-n", "shop", "database-credentials"],
      ...["-o", "go-template={{.data.password | base64decode}}"],
    ]);
    expect(seen.stdout).toBe(PASSWORD);
  });

  it("get --watch sees what happens", async () => {
    const watch = door.start(["get", "configmaps", "--watch", "-o", "name"]);
    const path = await file("watched.yaml", configMap("watched", "one"));
    await door.kubectl(["apply", "-f", path]);
    await watch.waitFor("stdout", /configmap\/watched/);
    watch.kill();
    await watch.result;
  });

  it("logs and logs --follow, through detectors where they are on", async () => {
    const pod = await podOf("orders-api");
    const follow = door.start(["logs", "-n", "shop", pod, "--follow"]);
    await follow.waitFor("stdout", /listening on :8080/);
    await follow.waitFor("stdout", /customer=\S+@example/);
    follow.kill();
    const watched = await kubernetes.door("engineer", WATCHED);
    const seen = await watched.kubectl(["logs", "-n", "shop", pod]);
    expect(seen.stdout).toMatch(/customer=\*{10,}/);
    expect(seen.stdout).not.toContain("@example");
  });
});

describe("writing", () => {
  it("apply, server-side apply, edit, label, scale and delete", async () => {
    const path = await file("map.yaml", configMap("settings", "first"));
    expect((await door.kubectl(["apply", "-f", path])).stdout).toContain("configmap/settings created");
    await writeFile(path, configMap("settings", "second"));
    const diff = await door.kubectl(["diff", "-f", path]);
    expect(diff).toMatchObject({ code: 1 });
    expect(diff.stdout).toContain("+  note: second");
    expect((await door.kubectl(["apply", "-f", path])).stdout).toContain("configmap/settings configured");
    await writeFile(path, configMap("settings", "third"));
    const served = await door.kubectl(["apply", "--server-side", "--force-conflicts", "-f", path]);
    expect(served.stdout).toContain("serverside-applied");
    const edited = await door.kubectl(["edit", "configmap", "settings"], {
      env: { KUBE_EDITOR: "sed -i s/third/fourth/" },
    });
    expect(edited.stdout).toContain("configmap/settings edited");
    await door.kubectl(["label", "configmap", "settings", "reviewed=yes"]);
    const read = await door.kubectl([
      "get",
      "configmap",
      "settings",
      "-o",
      "jsonpath={.data.note} {.metadata.labels}",
    ]);
    expect(read.stdout).toBe('fourth {"reviewed":"yes"}');
    expect(
      (await door.kubectl(["scale", "deployment", "storefront", "-n", "shop", "--replicas=3"])).code,
    ).toBe(0);
    expect(
      (await door.kubectl(["rollout", "status", "deployment/storefront", "-n", "shop", "--timeout=30s"]))
        .code,
    ).toBe(0);
    const deleted = await door.kubectl(["delete", "configmap", "settings"]);
    expect(deleted.stdout).toContain('configmap "settings" deleted');
  });

  it("an applied Secret stays masked in the annotation that kubectl keeps of it", async () => {
    const path = await file(
      "secret.yaml",
      "apiVersion: v1\nkind: Secret\nmetadata: { name: applied, namespace: default }\nstringData: { token: tell-nobody }\n",
    );
    expect((await door.kubectl(["apply", "-f", path])).code).toBe(0);
    const read = await door.kubectl(["get", "secret", "applied", "-o", "json"]);
    expect(read.stdout).toContain("last-applied-configuration");
    expect(read.stdout).not.toContain("tell-nobody");
    expect(read.stdout).not.toContain(Buffer.from("tell-nobody").toString("base64"));
  });

  it("a privileged pod is denied with the policy's reason, an ordinary one runs", async () => {
    const pod = (name: string, more: string): string =>
      `apiVersion: v1\nkind: Pod\nmetadata: { name: ${name}, namespace: default }\nspec:\n  containers:\n  - { name: main, image: busybox, args: [sleep, "600"]${more} }\n`;
    const denied = await door.kubectl([
      "apply",
      "-f",
      await file("bad.yaml", pod("bad", ", securityContext: { privileged: true }")),
    ]);
    expect(denied.code).not.toBe(0);
    expect(denied.stderr).toContain("(Forbidden): ");
    expect(denied.stderr).toContain("no privileged pods");
    const path = await file("good.yaml", pod("good", ""));
    expect((await door.kubectl(["apply", "-f", path])).stdout).toContain("pod/good created");
    await door.kubectl(["wait", "--for=condition=Ready", "pod/good", "--timeout=30s"]);
    expect((await door.kubectl(["exec", "good", "--", "echo", "runs"])).stdout).toBe("runs\n");
  });
});

describe("streams", () => {
  it("exec gives the command's output, error output and exit code, and takes its input", async () => {
    const pod = await podOf("orders-api");
    const script = "echo out; echo bad >&2; exit 7";
    const ran = await door.kubectl(["exec", "-n", "shop", pod, "--", "sh", "-c", script]);
    expect(ran).toMatchObject({ code: 7, stdout: "out\n" });
    expect(ran.stderr).toContain("bad\n");
    const input = "0123456789abcdef".repeat(64 << 10);
    const digest = createHash("sha256").update(input).digest("hex");
    const hashed = await door.kubectl(["exec", "-i", "-n", "shop", pod, "--", "sha256sum"], { input });
    expect(hashed.stdout).toBe(`${digest}  -\n`);
  });

  it("exec -it is a terminal", async () => {
    const pod = await podOf("orders-api");
    const shell = door.start(["exec", "-it", "-n", "shop", pod, "--", "sh"], { terminal: true });
    await shell.waitFor("stdout", /[$#] /);
    shell.write("echo it is $((40 + 2)); test -t 0 && echo a terminal\r");
    await shell.waitFor("stdout", /it is 42[^]*\na terminal/);
    shell.write("exit 3\r");
    expect((await shell.result).code).toBe(3);
  });

  it("cp goes both ways", async () => {
    const pod = (await podOf("orders-api")).replace("pod/", "");
    const content = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 7) & 255));
    const local = join(directory, "sent.bin");
    await writeFile(local, content);
    const sent = await door.kubectl(["cp", local, `shop/${pod}:tmp/sent.bin`]);
    expect(sent).toMatchObject({ code: 0 });
    const back = join(directory, "back.bin");
    await door.kubectl(["cp", `shop/${pod}:tmp/sent.bin`, back]);
    expect(await readFile(back)).toEqual(content);
  });

  it("port-forward carries HTTP, and several connections at once", async () => {
    const port = await freePort();
    const forward = door.start(["port-forward", "-n", "shop", await podOf("orders-api"), `${port}:8080`]);
    await forward.waitFor("stdout", /Forwarding from 127.0.0.1/);
    const answers = await Promise.all(
      Array.from({ length: 5 }, async () => (await fetch(`http://127.0.0.1:${port}/orders`)).status),
    );
    expect(answers).toEqual([200, 200, 200, 200, 200]);
    forward.kill();
    await forward.result;
  });

  it("proxy serves the API", async () => {
    const proxy = door.start(["proxy", "--port=0"]);
    const [, address = ""] = await proxy.waitFor("stdout", /Starting to serve on (\S+)/);
    const version = (await (await fetch(`http://${address}/version`)).json()) as { major: string };
    expect(version.major).toBe("1");
    proxy.kill();
    await proxy.result;
  });

  it("debug adds a container and attaches to it", async () => {
    const pod = await podOf("storefront");
    const debug = door.start(["debug", "-it", "-n", "shop", pod, "--image=busybox", "--", "sh"], {
      terminal: true,
    });
    // What the shell said before kubectl was attached is gone.
    await debug.waitFor("stdout", /try pressing enter/);
    debug.write("echo from $((6 * 7))\r");
    await debug.waitFor("stdout", /from 42/);
    debug.write("exit\r");
    await debug.result;
  });
});

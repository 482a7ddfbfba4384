/**
 * A real kube-apiserver behind the gateway: what the demo's server only imitates (protobuf answers, aggregated
 * discovery, streams that the API server translates for a kubelet), and Helm.
 */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
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
import { missingForReal } from "../../support/kubernetes/cluster.ts";
import { startNative } from "../../support/native-process.ts";
import { findProgram } from "../../support/programs.ts";

const PASSWORD = "correct-horse-battery-staple";
const POD = "orders-api-0";

const missing = missingForReal();
const helm = findProgram("helm");
const about = missing === undefined ? "a real kube-apiserver" : `a real kube-apiserver (NOT RUN: ${missing})`;

describe.skipIf(missing !== undefined)(`${about} behind the gateway`, () => {
  let kubernetes: KubernetesStack;
  let door: Door;
  let directory: string;

  beforeAll(async () => {
    kubernetes = await startKubernetesStack("real");
    door = await kubernetes.door("engineer");
    directory = await mkdtemp(join(tmpdir(), "real-cluster-"));
    const ready = await door.kubectl(["wait", "-n", "shop", "--for=condition=Ready", `pod/${POD}`]);
    if (ready.code !== 0) throw new Error(ready.stderr);
  });
  afterAll(async () => {
    await kubernetes?.stop();
    await rm(directory, { recursive: true, force: true });
  });

  it("answers kubectl's get, explain, api-resources and server-side apply", async () => {
    expect((await door.kubectl(["get", "pods", "-A"])).stdout).toMatch(
      /shop\s+orders-api-0\s+1\/1\s+Running/,
    );
    expect((await door.kubectl(["api-resources"])).stdout).toMatch(/cronjobs\s+cj\s+batch\/v1/);
    expect((await door.kubectl(["explain", "cronjob.spec.schedule"])).stdout).toContain("FIELD: schedule");
    const manifest = join(directory, "map.json");
    const map = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "served" }, data: { note: "one" } };
    await writeFile(manifest, JSON.stringify(map));
    const applied = await door.kubectl(["apply", "--server-side", "-f", manifest]);
    expect(applied.stdout).toContain("configmap/served serverside-applied");
    const other = await door.kubectl(["apply", "--server-side", "--field-manager=other", "-f", manifest]);
    expect(other).toMatchObject({ code: 0 });
    await writeFile(manifest, JSON.stringify({ ...map, data: { note: "two" } }));
    const clash = await door.kubectl(["apply", "--server-side", "-f", manifest]);
    expect(clash.stderr).toContain('conflict with "other": .data.note');
  });

  it("hides a Secret's data in JSON, in protobuf, in a watch and in a patch's answer", async () => {
    const path = "/api/v1/namespaces/shop/secrets";
    const hidden = [PASSWORD, Buffer.from(PASSWORD).toString("base64")];
    for (const accept of ["application/json", "application/vnd.kubernetes.protobuf", "application/yaml"]) {
      for (const below of ["", "/database-credentials", "?watch=true&timeoutSeconds=1"]) {
        const type = below.includes("watch") ? `${accept};stream=watch` : accept;
        const answer = await fetch(`${door.url}${path}${below}`, { headers: { accept: type } });
        const text = Buffer.from(await answer.arrayBuffer()).toString("latin1");
        // One that cannot be looked into is refused; no answer may have it.
        if (answer.ok && !below.includes("watch")) expect(text).toContain("database-credentials");
        for (const each of hidden)
          expect({ accept, below, has: text.includes(each) }).toMatchObject({ has: false });
      }
    }
    const protobuf = { headers: { accept: "application/vnd.kubernetes.protobuf" } };
    expect((await fetch(`${door.url}${path}/database-credentials`, protobuf)).status).toBe(200);
    const labelled = await door.kubectl([
      ...["label", "secret", "-n", "shop", "database-credentials", "seen=yes", "-o", "json"],
    ]);
    expect(labelled).toMatchObject({ code: 0 });
    expect(labelled.stdout).not.toContain(hidden[1]);
    const kept = await kubernetes.kubectl("reviewer-a", [
      ...["get", "secret", "-n", "shop", "database-credentials"],
      ...["-o", "go-template={{.data.password | base64decode}} {{.metadata.labels.seen}}"],
    ]);
    expect(kept.stdout).toBe(`${PASSWORD} yes`);
  });

  it("runs commands, gives logs and forwards ports through the API server", async () => {
    const command = ["sh", "-c", "cat; echo bad >&2; exit 7"];
    const call = { input: "typed\n" };
    const ran = await door.kubectl(["exec", "-i", "-n", "shop", POD, "--", ...command], call);
    expect(ran).toMatchObject({ code: 7, stdout: "typed\n" });
    expect(ran.stderr).toContain("bad\n");
    expect((await door.kubectl(["logs", "-n", "shop", POD])).stdout).toContain("listening on :8080");
    const port = await freePort();
    const forward = door.start(["port-forward", "-n", "shop", POD, `${port}:8080`]);
    await forward.waitFor("stdout", /Forwarding from 127.0.0.1/);
    expect(await (await fetch(`http://127.0.0.1:${port}/orders`)).json()).toMatchObject({ path: "/orders" });
    forward.kill();
    await forward.result;
  });

  it("knows the person from the impersonation, and says so in its own audit log", async () => {
    const watched = await kubernetes.door("engineer", WATCHED);
    expect((await watched.kubectl(["get", "configmaps", "-n", "payments"])).code).toBe(0);
    const seen = kubernetes.cluster
      .audit()
      .find(({ objectRef, verb }) => verb === "list" && objectRef?.["namespace"] === "payments");
    expect(seen?.impersonatedUser?.username).toContain("#engineer");
    expect(seen?.impersonatedUser?.groups).toContain("sallyport:engineers");
    expect(seen?.user.username).toBe("system:serviceaccount:kube-system:sallyport");
  });

  it.skipIf(helm === undefined)("serves Helm: install, list, upgrade, uninstall", async () => {
    const chart = join(directory, "chart");
    await mkdir(join(chart, "templates"), { recursive: true });
    await writeFile(join(chart, "Chart.yaml"), "apiVersion: v2\nname: notes\nversion: 0.1.0\n");
    await writeFile(join(chart, "values.yaml"), "note: first\n");
    await writeFile(
      join(chart, "templates/map.yaml"),
      "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: {{ .Release.Name }}-note }\ndata: { note: {{ .Values.note }} }\n",
    );
    // Releases are kept in Secrets by default, which an engineer sees masked.
    const env = { ...door.environment, HELM_DRIVER: "configmap", HELM_CACHE_HOME: directory };
    const run = (args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> => {
      const native = startNative(helm ?? "", [...args], { env });
      native.endInput();
      return native.result;
    };
    expect(await run(["install", "demo", chart])).toMatchObject({ code: 0 });
    expect((await run(["list", "-o", "json"])).stdout).toContain('"status":"deployed"');
    expect(await run(["upgrade", "demo", chart, "--set", "note=second"])).toMatchObject({ code: 0 });
    const note = ["get", "configmap", "demo-note", "-o", "jsonpath={.data.note}"];
    expect((await door.kubectl(note)).stdout).toBe("second");
    expect(await run(["uninstall", "demo"])).toMatchObject({ code: 0 });
    expect((await door.kubectl(note)).stderr).toContain("NotFound");
  });
});

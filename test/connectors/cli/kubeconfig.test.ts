/** A context merged into the user's kubeconfig. */
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { kubeconfigFile, mergeKubeconfig } from "../../../connectors/cli/kubeconfig.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubeconfig-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const CONTEXT = {
  name: "prod",
  entry: "gateway.example/prod",
  server: "https://gateway.example/k8s/prod",
  namespace: "shop",
  authority: "PEM",
  program: "/opt/sally",
  words: ["kube-token", "prod"],
};

describe("mergeKubeconfig", () => {
  it("makes a file of mode 600, whose only context is the current one", async () => {
    const file = join(directory, "new", "config");
    expect(await mergeKubeconfig(file, CONTEXT, false)).toEqual({ ok: true, value: { current: true } });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const written = parse(await readFile(file, "utf8")) as Record<string, unknown>;
    expect(written["current-context"]).toBe("prod");
    expect(written["clusters"]).toEqual([
      {
        name: "gateway.example/prod",
        cluster: { server: CONTEXT.server, "certificate-authority-data": "UEVN" },
      },
    ]);
    expect(JSON.stringify(written["users"])).toContain('"command":"/opt/sally","args":["kube-token","prod"]');
  });

  it("leaves what is there, comments too, and replaces only its own entries", async () => {
    const file = join(directory, "mine");
    await writeFile(
      file,
      "# mine\napiVersion: v1\nclusters:\n- name: other # keep\n  cluster: {server: 'https://other'}\ncontexts: []\ncurrent-context: other\n",
    );
    expect(await mergeKubeconfig(file, CONTEXT, false)).toEqual({ ok: true, value: { current: false } });
    await mergeKubeconfig(file, { ...CONTEXT, server: "https://moved.example/k8s/prod" }, true);
    const text = await readFile(file, "utf8");
    expect(text).toContain("# mine");
    expect(text).toContain("# keep");
    const written = parse(text) as { clusters: { name: string; cluster: { server: string } }[] } & Record<
      string,
      unknown
    >;
    expect(written.clusters.map(({ name, cluster }) => [name, cluster.server])).toEqual([
      ["other", "https://other"],
      ["gateway.example/prod", "https://moved.example/k8s/prod"],
    ]);
    expect(written["current-context"]).toBe("prod");
  });

  it("touches nothing that is no kubeconfig", async () => {
    const file = join(directory, "list");
    await writeFile(file, "- a\n- b\n");
    expect((await mergeKubeconfig(file, CONTEXT, true)).ok).toBe(false);
    expect(await readFile(file, "utf8")).toBe("- a\n- b\n");
  });

  it("writes to the first file of KUBECONFIG, else to the usual one", () => {
    expect(kubeconfigFile({ KUBECONFIG: ":/a:/b" })).toBe("/a");
    expect(kubeconfigFile({ HOME: "/home/ada" })).toBe("/home/ada/.kube/config");
  });
});

/** Whom a cluster sees, and with which credential. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { KubernetesConfig } from "../../../../connectors/agent/kubernetes/config.ts";
import { impersonationFields } from "../../../../connectors/agent/kubernetes/impersonate.ts";
import { readKubeconfig } from "../../../../connectors/agent/kubernetes/kubeconfig.ts";
import { ClusterToken } from "../../../../connectors/agent/kubernetes/token.ts";
import { inCluster } from "../../../../connectors/agent/kubernetes/upstream.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "cluster-identity-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const PRINCIPAL = {
  issuer: "https://issuer.example",
  subject: "u1",
  name: "ada@example.com",
  groups: ["engineers", "system:masters", "büro"],
  session: "ses_1",
};
const DEFAULT = { user: "subject", userPrefix: "", groupPrefix: "sallyport:" } as const;

describe("impersonationFields", () => {
  it("names the principal as the API server names OIDC users, with prefixed groups", () => {
    const fields = impersonationFields({ ...PRINCIPAL, actor: "https://issuer.example#agent" }, DEFAULT);
    expect(fields).toEqual({
      ok: true,
      value: [
        ["impersonate-user", "https://issuer.example#u1"],
        ["impersonate-group", "sallyport:engineers"],
        ["impersonate-group", "sallyport:system:masters"],
        // UTF-8, one byte a character.
        ["impersonate-group", "sallyport:b\u00c3\u00bcro"],
        ["impersonate-extra-sallyport-name", "ada@example.com"],
        ["impersonate-extra-sallyport-session", "ses_1"],
        ["impersonate-extra-sallyport-actor", "https://issuer.example#agent"],
      ],
    });
  });

  it("takes over no group of Kubernetes' own where groups have no prefix", () => {
    const fields = impersonationFields(PRINCIPAL, { ...DEFAULT, groupPrefix: "" });
    const groups = fields.ok ? fields.value.filter(([name]) => name === "impersonate-group") : [];
    expect(groups.map(([, value]) => value)).toEqual(["engineers", "b\u00c3\u00bcro"]);
  });

  it("refuses users of Kubernetes' own, and what cannot stand in a header", () => {
    const by = { ...DEFAULT, user: "name" } as const;
    for (const name of ["system:admin", "", "a\r\nImpersonate-Group: system:masters", "a\0b", " a"])
      expect(impersonationFields({ ...PRINCIPAL, name }, by).ok).toBe(false);
    expect(impersonationFields({ ...PRINCIPAL, groups: ["a\nb"] }, DEFAULT).ok).toBe(false);
    expect(impersonationFields({ ...PRINCIPAL, name: "admin" }, { ...by, userPrefix: "system:" }).ok).toBe(
      false,
    );
  });
});

type Entry = Record<string, unknown>;

async function kubeconfig(cluster: Entry, user: Entry, more: Entry = {}): Promise<string> {
  const file = join(directory, `config-${Math.random().toString(36).slice(2)}`);
  const text = stringify({
    clusters: [{ name: "c", cluster: { server: "https://10.0.0.1:6443", ...cluster } }],
    users: [{ name: "u", user }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
    "current-context": "x",
    ...more,
  });
  await writeFile(file, text);
  return file;
}

describe("readKubeconfig", () => {
  it("reads the current context or a named one, with files beside it", async () => {
    await writeFile(join(directory, "ca.pem"), "-----BEGIN CERTIFICATE-----");
    const file = await kubeconfig(
      { "certificate-authority": "ca.pem", "tls-server-name": "kubernetes" },
      { tokenFile: "token", "client-certificate-data": Buffer.from("CERT").toString("base64") },
    );
    const expected = {
      server: "https://10.0.0.1:6443",
      ca: "-----BEGIN CERTIFICATE-----",
      cert: "CERT",
      serverName: "kubernetes",
      token: { kind: "secret", source: { kind: "file", path: join(directory, "token") } },
    };
    expect(await readKubeconfig(file, undefined)).toEqual({ ok: true, value: expected });
    expect(await readKubeconfig(file, "x")).toMatchObject({ ok: true });
    expect(await readKubeconfig(file, "y")).toMatchObject({ ok: false });
  });

  it("refuses what would weaken the connection or needs a person", async () => {
    const refused: readonly (readonly [Entry, Entry])[] = [
      [{ "insecure-skip-tls-verify": true }, { token: "t" }],
      [{ "proxy-url": "http://proxy" }, { token: "t" }],
      [{}, { username: "admin", password: "secret" }],
      [{}, { "auth-provider": { name: "gcp" } }],
      [{}, { token: "t", as: "admin" }],
      [{ "certificate-authority": "missing.pem" }, { token: "t" }],
    ];
    for (const [cluster, user] of refused) {
      const read = await readKubeconfig(await kubeconfig(cluster, user), undefined);
      expect(read.ok).toBe(false);
      expect(JSON.stringify(read)).not.toContain('secret"');
    }
  });
});

describe("ClusterToken", () => {
  it("runs a credential plugin once for as long as its token lasts, and again after it was refused", async () => {
    const counter = join(directory, "runs");
    const program = `n=$(cat ${counter} 2>/dev/null || echo 0); n=$((n + 1)); echo $n > ${counter}
      printf '{"kind":"ExecCredential","status":{"token":"%s-%s","expirationTimestamp":"2100-01-01T00:00:00Z"}}' "$NAMED" $n`;
    const plugin = {
      apiVersion: "client.authentication.k8s.io/v1",
      command: "sh",
      args: ["-c", program],
      env: { NAMED: "it's" },
    };
    const source = { kind: "plugin", plugin } as const;
    const token = new ClusterToken(source, async () => source);
    const [first, second] = await Promise.all([token.get(), token.get()]);
    expect(first).toEqual({ ok: true, value: "it's-1" });
    expect(second).toEqual(first);
    token.forget();
    expect(await token.get()).toEqual({ ok: true, value: "it's-2" });
  });

  it("says which plugin printed no token, without what it printed", async () => {
    const plugin = { apiVersion: "v1", command: "echo", args: ["hunter2"], env: {} };
    const got = await new ClusterToken({ kind: "plugin", plugin }, async () => undefined).get();
    expect(got.ok).toBe(false);
    expect(JSON.stringify(got)).not.toContain("hunter2");
  });

  it("reads a token that stands in a kubeconfig anew after it was refused", async () => {
    const token = new ClusterToken({ kind: "literal", token: "old" }, async () => ({
      kind: "literal",
      token: "new",
    }));
    expect(await token.get()).toEqual({ ok: true, value: "old" });
    token.forget();
    expect(await token.get()).toEqual({ ok: true, value: "new" });
  });
});

describe("a pod's own account", () => {
  it("is the address of its environment and a token that is read anew", async () => {
    await writeFile(join(directory, "ca.crt"), "CA");
    await writeFile(join(directory, "token"), "one");
    const environment = { KUBERNETES_SERVICE_HOST: "fd00::1", KUBERNETES_SERVICE_PORT: "6443" };
    const cluster = await inCluster(environment, directory);
    if (!cluster.ok) throw new Error(cluster.error.message);
    expect(cluster.value.address.href).toBe("https://[fd00::1]:6443/");
    expect(cluster.value.tls).toEqual({ ca: "CA" });
    expect(await cluster.value.token.get()).toEqual({ ok: true, value: "one" });
    await writeFile(join(directory, "token"), "two");
    expect(await cluster.value.token.get()).toEqual({ ok: true, value: "two" });
    expect(await inCluster({}, directory)).toMatchObject({ ok: false });
  });
});

describe("the config", () => {
  it("takes one way to the cluster, and no way in clear to another machine", () => {
    const taken = (config: Entry): boolean =>
      KubernetesConfig.safeParse({ protocol: "kubernetes", ...config }).success;
    expect(taken({ address: "https://10.0.0.1:6443", token: "env:T", ca: "ca.pem" })).toBe(true);
    expect(taken({ address: "http://127.0.0.1:8001" })).toBe(true);
    expect(taken({ kubeconfig: "config", context: "x" })).toBe(true);
    expect(taken({ inCluster: true, impersonate: { groupPrefix: "" } })).toBe(true);
    expect(taken({})).toBe(false);
    expect(taken({ address: "https://a", inCluster: true })).toBe(false);
    expect(taken({ inCluster: true, token: "env:T" })).toBe(false);
    expect(taken({ address: "http://10.0.0.1:8001" })).toBe(false);
    expect(taken({ address: "https://a", token: "the-token-itself" })).toBe(false);
    expect(taken({ address: "https://a", context: "x" })).toBe(false);
    expect(taken({ address: "https://a", impersonate: { groupPrefix: "a b" } })).toBe(false);
  });
});

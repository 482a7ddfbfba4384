/** Holds, recordings, endings: what happens to requests and streams of a cluster besides their work. */
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { type Server, createServer as createHttpServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeAuthority, makeCertificate } from "../../connectors/agent/certificates.ts";
import { callApi } from "../../../scripts/lib/gateway-api.ts";
import {
  BLOCKED,
  CLUSTER,
  type Door,
  type KubernetesStack,
  RAW,
  WATCHED,
  startKubernetesStack,
} from "../../support/kubernetes-stack.ts";
import { startNative } from "../../support/native-process.ts";

let kubernetes: KubernetesStack;
let door: Door;
let pod: string;
let reviewer: string;

/** Events of the watch that one server sends without end to a slow reader, and those that may be under way. */
const FLOOD = 10_000;
const FLOOD_AHEAD = 9_000;
const flood = { sent: 0 };

async function startFlood(): Promise<Server> {
  const padding = "x".repeat(2_000);
  const server = createHttpServer((_request, response) => {
    response.writeHead(200, { "content-type": "application/json" });
    const more = (): void => {
      while (flood.sent < FLOOD) {
        const object = {
          kind: "Secret",
          apiVersion: "v1",
          metadata: { name: `s${flood.sent}`, namespace: "flood", labels: { padding } },
          data: { key: Buffer.from(`value ${flood.sent}`).toString("base64") },
        };
        flood.sent++;
        if (!response.write(`${JSON.stringify({ type: "ADDED", object })}\n`)) return;
      }
      response.end();
    };
    response.on("drain", more);
    more();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

function memoryOfGateway(): number {
  return kubernetes.stack.workerdPids.reduce((most, pid) => {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return Math.max(most, Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024);
  }, 0);
}

let server: Server;

beforeAll(async () => {
  server = await startFlood();
  kubernetes = await startKubernetesStack("typescript", { rawPort: (server.address() as AddressInfo).port });
  door = await kubernetes.door("engineer");
  reviewer = await kubernetes.stack.sessionToken("reviewer-a");
  const found = await door.kubectl(["get", "pods", "-n", "shop", "-o", "name"]);
  pod = found.stdout.split("\n").find((line) => line.includes("orders-api")) ?? "";
  await door.kubectl(["create", "namespace", "guarded"]);
});
afterAll(async () => {
  await kubernetes?.stop();
  server?.close();
});

const exec = (...words: string[]): string[] => ["exec", "-n", "shop", pod, "--", ...words];

/** The session that a request with this in its address belongs to, as the cluster's audit log has it. */
function sessionWith(marker: string): string {
  const event = kubernetes.cluster
    .audit()
    .findLast(({ requestURI }) => decodeURIComponent(requestURI).includes(marker));
  return /sallyport\/(ses_\w+)/.exec(event?.userAgent ?? "")?.[1] ?? "no session";
}

/** The pending approval of an operation with this in its text. */
async function pending(marker: string): Promise<string> {
  for (let tried = 0; tried < 150; tried++) {
    const { approvals } = (await callApi(kubernetes.stack.gateway, "GET", "/v1/approvals", {
      token: reviewer,
    })) as {
      approvals: { id: string; status: string; operation: { text: string } }[];
    };
    const found = approvals.find(({ operation }) => operation.text.includes(marker));
    if (found !== undefined) return found.id;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`nothing waits for approval with ${marker}`);
}

const decide = (approval: string, verdict: "approve" | "deny"): Promise<unknown> =>
  callApi(kubernetes.stack.gateway, "POST", `/v1/approvals/${approval}/${verdict}`, {
    token: reviewer,
    body: { comment: "seen" },
  });

const configMap = async (name: string): Promise<void> => {
  const created = await door.kubectl(["create", "configmap", name, "-n", "guarded", "--from-literal=a=b"]);
  expect(created.stdout).toContain("created");
};

describe("a request that is held", () => {
  it("waits, and completes when it is approved", async () => {
    await configMap("waits");
    const deleting = door.start(["delete", "configmap", "waits", "-n", "guarded"]);
    await decide(await pending("configmaps/waits"), "approve");
    expect(await deleting.result).toMatchObject({ code: 0 });
    expect((await door.kubectl(["get", "configmap", "waits", "-n", "guarded"])).stderr).toContain("NotFound");
  });

  it("is refused with a Status when it is denied", async () => {
    await configMap("stays");
    const deleting = door.start(["delete", "configmap", "stays", "-n", "guarded"]);
    await decide(await pending("configmaps/stays"), "deny");
    const { code, stderr } = await deleting.result;
    expect(code).toBe(1);
    expect(stderr).toMatch(/Error from server \(Forbidden\): sally: denied by \S+: seen/);
  });

  it("without waiting gives 4 with the approval's id, and passes once when it is sent again", async () => {
    await configMap("later");
    const again = (): ReturnType<KubernetesStack["kubectl"]> =>
      kubernetes.kubectl("engineer", ["delete", "configmap", "later", "-n", "guarded"], {
        sally: ["--no-wait"],
      });
    const first = await again();
    expect(first.code).toBe(4);
    const [, id = ""] = /needs approval (apr_\w+)/.exec(first.stderr) ?? [];
    await decide(id, "approve");
    expect(await again()).toMatchObject({ code: 0 });
  });

  it("is answered at once where its client prefers that, and passes when it is sent again", async () => {
    await configMap("asked");
    const token = await kubernetes.stack.sessionToken("engineer");
    const send = (): Promise<Response> =>
      fetch(`${kubernetes.stack.gateway}/k8s/${CLUSTER}/api/v1/namespaces/guarded/configmaps/asked`, {
        method: "DELETE",
        headers: { authorization: `Bearer ${token}`, prefer: "respond-async" },
      });
    const first = await send();
    expect(first.status).toBe(202);
    const approval = first.headers.get("location")?.split("/").at(-1) ?? "";
    await decide(approval, "approve");
    expect((await send()).status).toBe(200);
  });

  it("an exec waits before it is connected, and runs when it is approved", async () => {
    const running = door.start(exec("reboot", "--help", "marker-approved"));
    await decide(await pending("marker-approved"), "approve");
    await running.result;
    expect(sessionWith("marker-approved")).toMatch(/^ses_/);
  });

  it("an exec that is denied says so once, and never reaches the cluster", async () => {
    const running = door.start(exec("reboot", "marker-denied"));
    await decide(await pending("marker-denied"), "deny");
    const { code, stderr } = await running.result;
    expect(code).not.toBe(0);
    expect(stderr.match(/denied by/g)).toHaveLength(1);
    expect(sessionWith("marker-denied")).toBe("no session");
  });

  it("sally gives 3 for what policy denies", async () => {
    const denied = await kubernetes.kubectl("engineer", [
      "delete",
      "secret",
      "acquirer-api-key",
      "-n",
      "payments",
    ]);
    expect(denied.code).toBe(3);
    expect(denied.stderr).toContain("secrets stay");
  });
});

describe("an exec that has run", () => {
  it("is in the recording byte for byte, is shown again and exports as an asciicast", async () => {
    const shell = door.start(
      ["exec", "-it", "-n", "shop", pod, "--", "sh", "-c", "exec sh # marker-recorded"],
      {
        terminal: true,
      },
    );
    await shell.waitFor("stdout", /[$#] /);
    shell.write("echo recorded-$((40 + 2))\r");
    await shell.waitFor("stdout", /recorded-42/);
    shell.write("exit 5\r");
    expect((await shell.result).code).toBe(5);
    const session = sessionWith("marker-recorded");
    // The door's other terminals are in the same session.
    const listed = await kubernetes.stack.sally("reviewer-a", ["sessions", "play", session, "--json"]);
    const events = listed.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { body: Record<string, unknown> });
    const started = events.find(
      ({ body }) => String(body["text"]).includes("marker-recorded") && body["type"] === "operation",
    );
    const channel = started?.body["channel"];
    const of = (type: string): Record<string, unknown>[] =>
      events.map(({ body }) => body).filter((body) => body["type"] === type && body["channel"] === channel);
    expect(
      of("output")
        .map(({ text }) => text)
        .join(""),
    ).toContain("recorded-42");
    expect(
      of("input")
        .map(({ text }) => text)
        .join(""),
    ).toBe("echo recorded-$((40 + 2))\rexit 5\r");
    expect(of("resize").length).toBeGreaterThan(0);
    expect(of("channel")).toMatchObject([{ exit: { status: 5 } }]);
    const cast = await kubernetes.stack.sally("reviewer-a", [
      ...["sessions", "export", session, "--format", "asciicast-v3", "--channel", String(channel)],
    ]);
    expect(cast.stdout).toContain('"x","5"');
    const shown = await kubernetes.stack.sally("reviewer-a", [
      ...["sessions", "play", session, "--speed", "100", "--channel", String(channel)],
    ]);
    expect(shown.stdout).toContain("recorded-42");
    const told = await kubernetes.stack.sally("reviewer-a", ["sessions", "play", session]);
    expect(told.stdout).toContain(`channel ${String(channel)}: exit 5`);
    expect(told.stdout).toContain("marker-recorded");
    expect((await kubernetes.stack.sally("reviewer-a", ["sessions", "verify", session])).code).toBe(0);
  });

  it("shows the client what detectors left of its output, and records just that", async () => {
    const watched = await kubernetes.door("engineer", WATCHED);
    const said = await watched.kubectl(exec("sh", "-c", "echo card 4556737586899855 marker-detected"));
    expect(said).toMatchObject({ code: 0, stderr: "" });
    expect(said.stdout).toBe("card **************** marker-detected\n");
    const session = sessionWith("marker-detected");
    const played = await kubernetes.stack.sally("reviewer-a", ["sessions", "play", session, "--json"]);
    const outputs = played.stdout.split("\n").filter((line) => line.includes('"type":"output"'));
    expect(outputs.join("\n")).toContain("card ****************");
    expect(outputs.join("\n")).not.toContain("4556737586899855");
  });

  it("ends before what detectors found where they block, and says why", async () => {
    const blocked = await kubernetes.door("engineer", BLOCKED);
    const script = "echo before; sleep 1; echo card 4556737586899855; sleep 60";
    const { code, stdout, stderr } = await blocked.kubectl(exec("sh", "-c", script));
    expect(code).not.toBe(0);
    expect(stdout).toBe("before\n");
    expect(stderr).toContain("must not leave blocked-cluster: card");
  });

  it("as the principal, where the connector impersonates", async () => {
    const watched = await kubernetes.door("engineer", WATCHED);
    const { stdout } = await watched.kubectl(["auth", "whoami", "-o", "json"]);
    const { status } = JSON.parse(stdout) as { status: { userInfo: { username: string; groups: string[] } } };
    expect(status.userInfo.username).toMatch(/^http:\/\/.+#.+/);
    expect(status.userInfo.groups).toContain("sallyport:engineers");
  });
});

describe("a stream that is ended from outside", () => {
  it("an exec is killed with its session, and told why", async () => {
    const running = kubernetes.startKubectl(
      "engineer",
      exec("sh", "-c", "echo up; sleep 300 # marker-killed"),
    );
    await running.waitFor("stdout", /up/);
    const session = sessionWith("marker-killed");
    const killed = await kubernetes.stack.sally("reviewer-a", ["sessions", "kill", session]);
    expect(killed.code).toBe(0);
    const { code, stderr } = await running.result;
    expect(code).not.toBe(0);
    expect(stderr).toContain("the session was ended by");
  });

  it("a watch and an exec end when the connector is killed, and the next command works when it is back", async () => {
    const watch = door.start(["get", "--raw", "/api/v1/namespaces?watch=true"]);
    await watch.waitFor("stdout", /"ADDED"/);
    const running = door.start(exec("sh", "-c", "echo up; sleep 300"));
    await running.waitFor("stdout", /up/);
    process.kill(kubernetes.stack.connectorPid, "SIGKILL");
    expect((await watch.result).code).not.toBe(0);
    const { code, stderr } = await running.result;
    expect(code).not.toBe(0);
    expect(stderr).not.toBe("");
    await kubernetes.stack.system.startConnector();
    await kubernetes.stack.system.waitUntilOnline(CLUSTER);
    expect(await door.kubectl(["get", "pods", "-n", "shop"])).toMatchObject({ code: 0 });
  });

  it("a gateway that was restarted goes on with the same credentials", async () => {
    await kubernetes.stack.system.gateway.stop();
    await kubernetes.stack.system.startGateway();
    await kubernetes.stack.system.waitUntilOnline(CLUSTER);
    expect(await door.kubectl(["get", "pods", "-n", "shop"])).toMatchObject({ code: 0 });
  });
});

describe("a watch of many events", () => {
  it("is masked event by event while its client reads slowly, without piling up in the gateway", async () => {
    const token = await kubernetes.stack.sessionToken("engineer");
    const before = memoryOfGateway();
    const response = await fetch(`${kubernetes.stack.gateway}/k8s/${RAW}/api/v1/secrets?watch=true`, {
      headers: { authorization: `Bearer ${token}` },
    });
    let most = before;
    let text = "";
    const decoder = new TextDecoder();
    const events: { type: string; object: { data: { key: string } } }[] = [];
    for await (const chunk of response.body ?? []) {
      text += decoder.decode(chunk as Uint8Array, { stream: true });
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) events.push(JSON.parse(line) as (typeof events)[number]);
      if (events.length < 2_000) await new Promise((resolve) => setTimeout(resolve, 20));
      most = Math.max(most, memoryOfGateway());
      // The cluster waits while its reader does.
      expect(flood.sent - events.length).toBeLessThan(FLOOD_AHEAD);
    }
    expect(events).toHaveLength(FLOOD);
    expect(new Set(events.map(({ object }) => object.data.key))).toEqual(new Set(["KioqKg=="]));
    expect(most - before).toBeLessThan(160 << 20);
  });
});

describe("sally kubeconfig", () => {
  it("writes a context with which kubectl itself works over TLS, asking sally for tokens", async () => {
    const directory = await mkdtemp(join(tmpdir(), "kubeconfig-"));
    const ca = await makeAuthority(directory, "gateway-ca");
    const { key, certificate } = await makeCertificate(directory, "gateway-ca", "IP:127.0.0.1");
    const target = new URL(kubernetes.stack.gateway);
    const front = createServer({ key, cert: certificate }, (client) => {
      const upstream = connect(Number(target.port), target.hostname);
      client.on("error", () => upstream.destroy()).pipe(upstream);
      upstream.on("error", () => client.destroy()).pipe(client);
    });
    front.listen(0, "127.0.0.1");
    await once(front, "listening");
    try {
      const env = { KUBECONFIG: join(directory, "config"), KUBECACHEDIR: join(directory, "cache") };
      const written = await kubernetes.stack.sally(
        "engineer",
        [
          ...["kubeconfig", CLUSTER, "--namespace", "shop"],
          ...["--token-file", kubernetes.stack.tokenFiles.engineer],
        ],
        { env },
      );
      expect(written).toMatchObject({ code: 0, stdout: "kubectl get pods\n" });
      expect(written.stderr).toContain("use sally kubectl");
      const kubectl = (...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> =>
        startNative("kubectl", args, { env: { ...process.env, ...env } }).result;
      // This gateway listens without TLS; another stands in front of it.
      const address = `https://127.0.0.1:${(front.address() as AddressInfo).port}/k8s/${CLUSTER}`;
      const entry = `${target.host}/${CLUSTER}`;
      await kubectl("config", "set-cluster", entry, `--server=${address}`, `--certificate-authority=${ca}`);
      const pods = await kubectl("get", "pods");
      expect(pods.stderr).toBe("");
      expect(pods.stdout).toContain("orders-api");
      const ran = await kubectl("exec", pod, "--", "sh", "-c", "echo over TLS; exit 3");
      expect(ran).toMatchObject({ code: 3, stdout: "over TLS\n" });
    } finally {
      front.close();
      await rm(directory, { recursive: true, force: true });
    }
  });
});

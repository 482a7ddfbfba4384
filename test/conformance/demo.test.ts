/**
 * `npm start` as a user runs it: its own process, its own state, killed and started again.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { type Server, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { ROOT } from "../../scripts/lib/run.ts";
import { type SallyResult, runSally } from "../../scripts/lib/sally.ts";

type Ready = {
  readonly gateway: string;
  readonly issuer: string;
  readonly env: string;
  readonly tokens: Record<string, string>;
};
type Demo = {
  readonly child: ChildProcess;
  readonly ready: Ready;
  readonly ended: Promise<number | null>;
  stderr(): string;
};

let directory: string;
const demos: ChildProcess[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "sallyport-demo-"));
});
afterEach(async () => {
  for (const child of demos.splice(0)) {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill("SIGTERM");
      await new Promise((resolve) => child.once("exit", resolve));
    }
  }
});
afterAll(() => rm(directory, { recursive: true, force: true }));

function launch(args: readonly string[] = []): {
  child: ChildProcess;
  ended: Promise<number | null>;
  stdout(): string;
  stderr(): string;
} {
  const state = join(directory, "state");
  const child = spawn(
    "node",
    ["scripts/bootstrap.mjs", "scripts/demo/main.ts", "--json", "--directory", state, ...args],
    {
      cwd: ROOT,
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  demos.push(child);
  let stdout = "";
  let stderr = "";
  child.stdout?.on("data", (chunk) => (stdout += String(chunk)));
  child.stderr?.on("data", (chunk) => (stderr += String(chunk)));
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  return { child, ended, stdout: () => stdout, stderr: () => stderr };
}

async function start(args: readonly string[] = []): Promise<Demo> {
  const { child, ended, stdout, stderr } = launch(args);
  let over = false;
  void ended.then(() => (over = true));
  while (!stdout().includes("\n")) {
    if (over) throw new Error(`the demo ended: ${stderr()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return { child, ended, stderr, ready: JSON.parse(stdout()) as Ready };
}

function select(ready: Ready, user: string, sql: string): Promise<SallyResult> {
  return runSally(["psql", "shop-db", "--", "-XAtc", sql], {
    gateway: ready.gateway,
    tokenFile: ready.tokens[user] ?? "",
    configHome: join(directory, "config-home"),
  });
}

type Listed = {
  readonly pid: number;
  readonly parent: number;
  readonly args: string;
};

async function processes(): Promise<Listed[]> {
  const ps = spawn("ps", ["-eo", "pid,ppid,stat,args"], { stdio: ["ignore", "pipe", "ignore"] });
  let text = "";
  for await (const chunk of ps.stdout) text += String(chunk);
  return text.split("\n").flatMap((line) => {
    const [pid, parent, state = "", ...args] = line.trim().split(/\s+/);
    // A zombie has ended; whoever is responsible for it has not looked yet.
    return state.startsWith("Z") ? [] : [{ pid: Number(pid), parent: Number(parent), args: args.join(" ") }];
  });
}

/** Everything that the demo with this process id has started, directly or not. */
async function descendants(pid: number): Promise<Listed[]> {
  const all = await processes();
  const found: Listed[] = [];
  for (const parents = [pid]; parents.length > 0;) {
    const parent = parents.pop();
    for (const each of all.filter((candidate) => candidate.parent === parent)) {
      found.push(each);
      parents.push(each.pid);
    }
  }
  return found;
}

async function demoPid(): Promise<number> {
  return Number(await readFile(join(directory, "state/pid"), "utf8"));
}

/** Those of `before` that still run. */
async function survivors(before: readonly Listed[]): Promise<string[]> {
  const now = await processes();
  return before
    .filter(({ pid, args }) => now.some((each) => each.pid === pid && each.args === args))
    .map(({ args }) => args);
}

async function until(condition: () => Promise<boolean> | boolean, what: string): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within 20 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function addresses(ready: Ready): Promise<Record<string, string>> {
  const lines = (await readFile(ready.env, "utf8")).split("\n").filter((line) => line.includes("="));
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  );
}

describe("npm start", () => {
  it("runs everything, writes its addresses and tokens, and stops without a trace", async () => {
    const { child, ready, ended } = await start();
    const values = await addresses(ready);
    expect(values["SALLY_GATEWAY"]).toBe(ready.gateway);
    const direct = new pg.Client({ connectionString: values["SHOP_DB_DIRECT_URL"] ?? "" });
    await direct.connect();
    const { rows } = await direct.query(
      "SELECT count(*)::int AS customers, min(card_number) FILTER (WHERE id = 1) AS card FROM customers",
    );
    await direct.end();
    expect(rows[0].customers).toBe(2000);

    const masked = await select(ready, "engineer", "select card_number from customers where id = 1");
    expect(masked).toMatchObject({ code: 0, stdout: `****${String(rows[0].card).slice(-4)}\n` });
    const plain = await select(ready, "reviewer-a", "select card_number from customers where id = 1");
    expect(plain).toMatchObject({ code: 0, stdout: `${rows[0].card}\n` });

    for (const file of [ready.env, ...Object.values(ready.tokens), join(directory, "state/secrets.json")]) {
      expect((await stat(file)).mode & 0o077, file).toBe(0);
    }
    const started = await descendants(await demoPid());
    for (const part of ["workerd", "postgres", "oidc-process.ts", "connectors/agent/main.ts"]) {
      expect(started.map(({ args }) => args).join("\n")).toContain(part);
    }
    child.kill("SIGINT");
    expect(await ended).toBe(0);
    expect(await survivors(started)).toEqual([]);
  });

  it("loses nothing by a restart", async () => {
    const first = await start();
    const marked = await select(
      first.ready,
      "reviewer-a",
      "update customers set balance = 123.45 where id = 7",
    );
    expect(marked.code).toBe(0);
    const sessions = async ({ ready }: Demo): Promise<string> =>
      (
        await runSally(["sessions", "ls", "--json"], {
          gateway: ready.gateway,
          tokenFile: ready.tokens["reviewer-a"] ?? "",
          configHome: join(directory, "config-home"),
        })
      ).stdout;
    const [session] = (JSON.parse(await sessions(first)) as { sessions: { id: string }[] }).sessions;
    first.child.kill("SIGTERM");
    await first.ended;

    const second = await start();
    expect(second.ready).toEqual(first.ready);
    const balance = await select(second.ready, "engineer", "select balance from customers where id = 7");
    expect(balance.stdout).toBe("123.45\n");
    expect(await sessions(second)).toContain(session?.id);
  });

  it("refuses to run twice over the same state", async () => {
    await start();
    const { ended, stderr } = launch();
    expect(await ended).toBe(1);
    expect(stderr()).toMatch(/the demo is running already \(process \d+\)/);
  });

  it("leaves no process behind when it is killed outright", async () => {
    const { ended } = await start();
    const pid = await demoPid();
    const started = await descendants(pid);
    process.kill(pid, "SIGKILL");
    await ended;
    await until(async () => (await survivors(started)).length === 0, "no process is left");
    expect(await survivors(started)).toEqual([]);
  });

  it("starts a connector or a gateway that died again, and says so", async () => {
    const { ready, stderr } = await start();
    for (const [pattern, name] of [
      ["connectors/agent/main.ts", "the connector"],
      ["gateway-process.ts", "the gateway"],
    ] as const) {
      const [child] = (await descendants(await demoPid())).filter(({ args }) => args.includes(pattern));
      process.kill(child?.pid ?? Number.NaN, "SIGKILL");
      await until(() => stderr().includes(`${name} runs again`), `${name} runs again`);
      await until(
        async () => (await select(ready, "engineer", "select 1")).stdout === "1\n",
        "psql works again",
      );
    }
  });

  describe("when a port is taken", () => {
    let server: Server | undefined;
    afterEach(() => {
      server?.close();
    });
    const occupy = (port: number): Promise<void> =>
      new Promise((resolve, reject) => {
        server = createServer().once("error", reject).listen(port, "127.0.0.1", resolve);
      });

    it("says so and uses another one for the gateway", async () => {
      const ports = JSON.parse(await readFile(join(directory, "state/ports.json"), "utf8")) as {
        gateway: number;
      };
      await occupy(ports.gateway);
      const { ready, stderr } = await start();
      expect(stderr()).toContain(`port ${ports.gateway} (gateway) is taken by another program`);
      expect((await select(ready, "engineer", "select 1")).stdout).toBe("1\n");
    });

    it("says so and ends where the port was asked for", async () => {
      await occupy(0);
      const address = server?.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      const { ended, stderr } = launch(["--port", String(port)]);
      expect(await ended).toBe(1);
      expect(stderr()).toContain(`port ${port} is taken by another program`);
    });

    it("says so and ends where the identity provider's address cannot change", async () => {
      const ports = JSON.parse(await readFile(join(directory, "state/ports.json"), "utf8")) as {
        oidc: number;
      };
      await occupy(ports.oidc);
      const { ended, stderr } = launch();
      expect(await ended).toBe(1);
      expect(stderr()).toContain(`port ${ports.oidc}, the address of the demo's identity provider, is taken`);
    });
  });
});

/** The connector as a process, between a stand-in for the gateway and a real PostgreSQL. */
import { once } from "node:events";
import { readFile, readdir, readlink, stat } from "node:fs/promises";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Catalogue, catalogueSchema } from "../../../wire/postgres/catalogue.ts";
import { type Postgres, generatePassword, startPostgres } from "../../../scripts/lib/postgres.ts";
import { query } from "../../../connectors/agent/postgres/messages.ts";
import { ConnectorProcess } from "./connector-process.ts";
import { GatewayStandIn } from "./gateway-stand-in.ts";
import { RawClient } from "./raw-client.ts";

const OPEN = { protocol: "postgres", resource: "shop-db", parameters: {} };

const TERMINATE = Buffer.from("X\0\0\0\x04", "latin1");

describe("a connector process", () => {
  let directory: string;
  let postgres: Postgres;
  let gateway: GatewayStandIn;
  let connector: ConnectorProcess;
  const password = generatePassword();

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "connector-test-"));
    postgres = await startPostgres({
      dataDirectory: join(directory, "pg"),
      superuserPassword: generatePassword(),
      unsafe: true,
    });
    await postgres.withClient("postgres", async (client) => {
      await client.query(`CREATE ROLE sallyport LOGIN PASSWORD '${password}' CONNECTION LIMIT 20`);
      await client.query("CREATE TABLE public.customers (id int PRIMARY KEY, ssn text NOT NULL)");
      await client.query("GRANT SELECT ON public.customers TO sallyport");
    });
    gateway = await GatewayStandIn.start();
    connector = await ConnectorProcess.start(config(), {
      SALLY_JOIN_TOKEN: gateway.joinToken,
      SHOP_DB_PASSWORD: password,
    });
    await gateway.connected();
  });

  afterAll(async () => {
    await connector?.stop();
    await gateway?.stop();
    await postgres?.stop();
    await rm(directory, { recursive: true, force: true });
  });

  function config(more: Record<string, unknown> = {}): Record<string, unknown> {
    return {
      gateway: gateway.url,
      name: "demo",
      joinToken: "env:SALLY_JOIN_TOKEN",
      resources: {
        "shop-db": {
          protocol: "postgres",
          address: `127.0.0.1:${postgres.port}`,
          database: "postgres",
          user: "sallyport",
          password: "env:SHOP_DB_PASSWORD",
        },
        "bad-password": {
          protocol: "postgres",
          address: `127.0.0.1:${postgres.port}`,
          database: "postgres",
          user: "sallyport",
          password: "env:SALLY_JOIN_TOKEN",
        },
        nowhere: { protocol: "postgres", address: "127.0.0.1:1", database: "postgres", user: "sallyport" },
      },
      ...more,
    };
  }

  /** Backends of our role that are running something. */
  async function running(): Promise<number> {
    return postgres.withClient("postgres", async (client) => {
      const result = await client.query<{ n: string }>(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE usename = 'sallyport' AND state <> 'idle' AND application_name NOT LIKE 'sallyport%'",
      );
      return Number(result.rows[0]?.n);
    });
  }

  async function eventually(check: () => Promise<boolean> | boolean, milliseconds = 5000): Promise<boolean> {
    const deadline = Date.now() + milliseconds;
    while (Date.now() < deadline) {
      if (await check()) return true;
      await sleep(30);
    }
    return false;
  }

  it("enrols, keeps a key that only its owner can read, and says what it serves", async () => {
    expect(gateway.enrolled).toHaveLength(1);
    expect(gateway.enrolled[0]?.name).toBe("demo");
    expect(Object.keys(gateway.enrolled[0]?.publicKey ?? {}).toSorted()).toEqual(["crv", "kty", "x"]);
    const key = join(connector.directory, "state", "connector.key");
    expect((await stat(key)).mode & 0o777).toBe(0o600);
    expect((await stat(join(connector.directory, "state"))).mode & 0o777).toBe(0o700);
    const token = gateway.tokens[0] ?? {};
    expect(token).toMatchObject({ iss: "demo", sub: "demo", aud: gateway.url });
    expect(Number(token["exp"]) - Number(token["iat"])).toBeLessThanOrEqual(60);
    const hello = gateway.messages.find((message) => message.type === "hello");
    expect(hello?.type === "hello" && hello.resources).toEqual(
      ["shop-db", "bad-password", "nowhere"].map((name) => ({ name, protocol: "postgres" })),
    );
  });

  it("serves a session: logged in, settings forced, parameters reported", async () => {
    const { channel, opened, tunnel } = await gateway.channel("shop-db", {
      ...OPEN,
      parameters: {
        application_name: "psql",
        DateStyle: "German",
        client_encoding: "LATIN1",
        Standard_Conforming_Strings: "off",
      },
    });
    expect(opened["database"]).toBe("postgres");
    const parameters = Object.fromEntries(opened["parameters"] as [string, string][]);
    expect(parameters).toMatchObject({
      client_encoding: "UTF8",
      standard_conforming_strings: "on",
      application_name: "psql",
      server_version: expect.stringMatching(/^18/),
    });
    expect(parameters["DateStyle"]).toContain("German");
    const client = new RawClient(channel);
    expect(await client.query("SELECT current_user, 'é', 1 + 1")).toEqual(["sallyport|é|2"]);
    expect(await client.query("SELECT 1/0")).toEqual(["22012: division by zero"]);
    tunnel.close();
  });

  it("refuses what its config does not list, whatever the gateway asks", async () => {
    await expect(gateway.session("payroll")).rejects.toMatchObject({ code: "resource_unknown" });
    await expect(gateway.channel("shop-db", { ...OPEN, resource: "nowhere" })).rejects.toMatchObject({
      code: "resource_unknown",
    });
    await expect(gateway.channel("shop-db", { ...OPEN, protocol: "ssh" })).rejects.toMatchObject({
      code: "feature_not_supported",
    });
    await expect(gateway.channel("shop-db", { ...OPEN, protocol: "constructor" })).rejects.toMatchObject({
      code: "feature_not_supported",
    });
    await expect(
      gateway.channel("shop-db", { ...OPEN, parameters: { User: "postgres" } }),
    ).rejects.toMatchObject({ code: "setting_not_allowed" });
    await expect(
      gateway.channel("shop-db", { ...OPEN, parameters: { replication: "database" } }),
    ).rejects.toMatchObject({ code: "setting_not_allowed" });
    await expect(gateway.channel("shop-db", { ...OPEN, parameters: { a: "b\0c" } })).rejects.toMatchObject({
      code: "setting_not_allowed",
    });
    await expect(gateway.channel("shop-db", { resource: "shop-db" })).rejects.toMatchObject({
      code: "request_invalid",
    });
  });

  it("tells a wrong password in its log and not to the client", async () => {
    const failure = await gateway
      .channel("bad-password", { ...OPEN, resource: "bad-password" })
      .catch((error: unknown) => error);
    expect(failure).toMatchObject({
      code: "upstream_login_failed",
      message: "the database refused the connector's login",
    });
    await expect
      .poll(() => connector.event("upstream not opened"))
      .toMatchObject({
        level: "error",
        resource: "bad-password",
        sqlstate: "28P01",
        reason: 'password authentication failed for user "sallyport"',
      });
  });

  it("tells an unreachable database", async () => {
    await expect(gateway.channel("nowhere", { ...OPEN, resource: "nowhere" })).rejects.toMatchObject({
      code: "upstream_unreachable",
      message: "the connector cannot reach the database of nowhere",
    });
    await expect
      .poll(() => connector.event("upstream not opened"))
      .toMatchObject({
        step: "network",
        reason: "connection refused",
      });
  });

  it("tells the client of a startup setting that the server refuses, as the server does", async () => {
    await expect(
      gateway.channel("shop-db", { ...OPEN, parameters: { TimeZone: "Nowhere/Atlantis" } }),
    ).rejects.toMatchObject({
      code: "upstream_login_failed",
      message: 'invalid value for parameter "TimeZone": "Nowhere/Atlantis"',
    });
  });

  it("turns a cancel signal into a real cancel, and the session goes on", async () => {
    const { channel, tunnel } = await gateway.channel("shop-db", OPEN);
    const client = new RawClient(channel);
    client.send("SELECT pg_sleep(30)");
    expect(await eventually(async () => (await running()) === 1)).toBe(true);
    const started = Date.now();
    for (let i = 0; i < 20; i += 1) channel.signal({ type: "cancel" });
    expect(await client.result()).toEqual(["57014: canceling statement due to user request"]);
    expect(Date.now() - started).toBeLessThan(3000);
    // The last cancels may hit the statement after: PostgreSQL's protocol has that race by design.
    await sleep(300);
    expect(await client.query("SELECT 'still here'")).toEqual(["still here"]);
    tunnel.close();
  });

  it("ends the running statement when the session's socket goes away", async () => {
    const { channel, tunnel } = await gateway.channel("shop-db", OPEN);
    new RawClient(channel).send("SELECT pg_sleep(60)");
    expect(await eventually(async () => (await running()) === 1)).toBe(true);
    tunnel.close();
    expect(await eventually(async () => (await running()) === 0, 3000)).toBe(true);
  });

  it("does not run the next pipelined statement of a session that went away", async () => {
    await postgres.withClient("postgres", (client) =>
      client.query("CREATE TABLE public.marks (n int); GRANT INSERT ON public.marks TO sallyport"),
    );
    const { channel, tunnel } = await gateway.channel("shop-db", OPEN);
    const client = new RawClient(channel);
    client.send("SELECT pg_sleep(20)");
    client.send("INSERT INTO public.marks VALUES (1)");
    expect(await eventually(async () => (await running()) === 1)).toBe(true);
    tunnel.close();
    expect(await eventually(async () => (await running()) === 0, 3000)).toBe(true);
    await sleep(200);
    const marks = await postgres.withClient("postgres", (admin) => admin.query("SELECT n FROM public.marks"));
    expect(marks.rowCount).toBe(0);
  });

  it("says so when the server goes away in mid-session, after what it sent last", async () => {
    const { channel, tunnel } = await gateway.channel("shop-db", OPEN);
    const closed = new Promise<unknown>((resolve) => channel.listen({ onRemoteClose: resolve }));
    const client = new RawClient(channel);
    const [pid] = await client.query("SELECT pg_backend_pid()");
    await postgres.withClient("postgres", (admin) => admin.query(`SELECT pg_terminate_backend(${pid})`));
    const last = await client.next();
    expect(last?.type).toBe("E");
    await expect(client.next()).rejects.toMatchObject({ code: "upstream_lost" });
    expect(await closed).toEqual({ code: "upstream_lost", message: "the database closed the connection" });
    tunnel.close();
  });

  it("ends an orderly session without cancelling it", async () => {
    const { channel, tunnel } = await gateway.channel("shop-db", OPEN);
    await postgres.withClient("postgres", (client) => client.query("TRUNCATE public.marks"));
    const client = new RawClient(channel);
    client.send("INSERT INTO public.marks SELECT 7 FROM pg_sleep(0.5)");
    channel.end(TERMINATE);
    const kinds: string[] = [];
    for (let message = await client.next(); message !== undefined; message = await client.next())
      kinds.push(message.type);
    expect(kinds.at(-1)).toBe("Z");
    const marks = await postgres.withClient("postgres", (admin) => admin.query("SELECT n FROM public.marks"));
    expect(marks.rows).toEqual([{ n: 7 }]);
    tunnel.close();
  });

  it("lets the server finish what came before Terminate, though the socket closes at once", async () => {
    await postgres.withClient("postgres", (client) => client.query("TRUNCATE public.marks"));
    const { channel, tunnel } = await gateway.channel("shop-db", OPEN);
    channel.write(query("INSERT INTO public.marks SELECT 9 FROM pg_sleep(0.3)"));
    channel.write(TERMINATE);
    await sleep(50);
    tunnel.close();
    const written = async () => {
      const marks = await postgres.withClient("postgres", (admin) =>
        admin.query("SELECT n FROM public.marks"),
      );
      return marks.rowCount === 1;
    };
    expect(await eventually(written, 2000)).toBe(true);
    await expect.poll(() => connector.event("session closed")).toMatchObject({ reason: "done" });
  });

  it("reads the catalogue, again over the same connection, and again after that connection died", async () => {
    const pids = new Set<number>();
    const versions: number[] = [];
    const readings: number[] = [];
    for (const version of [1, 2, 3]) {
      const { channel, tunnel } = await gateway.channel("shop-db", {
        protocol: "postgres-catalogue",
        resource: "shop-db",
        version,
      });
      const parts: Buffer[] = [];
      channel.end();
      await pipeline(channel, async (source) => {
        for await (const part of source) parts.push(part as Buffer);
      });
      const catalogue: Catalogue = catalogueSchema.parse(JSON.parse(Buffer.concat(parts).toString("utf8")));
      versions.push(catalogue.version);
      expect(
        catalogue.relations
          .find((relation) => relation.name === "customers")
          ?.columns.map((column) => column.name),
      ).toEqual(["id", "ssn"]);
      const backends = await postgres.withClient("postgres", (client) =>
        client.query<{ pid: number }>(
          "SELECT pid FROM pg_stat_activity WHERE application_name = 'sallyport catalogue'",
        ),
      );
      for (const { pid } of backends.rows) pids.add(pid);
      readings.push(pids.size);
      if (version === 2) {
        await postgres.withClient("postgres", (client) =>
          client.query(`SELECT pg_terminate_backend(${[...pids][0]})`),
        );
      }
      tunnel.close();
    }
    expect(versions).toEqual([1, 2, 3]);
    expect(readings).toEqual([1, 1, 2]);
  });

  it("holds no socket open after sessions that ended in any order", async () => {
    const sockets = async () => {
      const directory = `/proc/${connector.child.pid}/fd`;
      const links = await Promise.all(
        (await readdir(directory)).map((fd) => readlink(join(directory, fd)).catch(() => "")),
      );
      return links.filter((link) => link.startsWith("socket:")).length;
    };
    const before = await sockets();
    for (let i = 0; i < 10; i += 1) {
      const { channel, tunnel } = await gateway.channel("shop-db", OPEN);
      if (i % 3 !== 0) channel.end(TERMINATE);
      if (i % 3 === 2) await sleep(5);
      tunnel.close();
    }
    expect(await eventually(async () => (await sockets()) <= before)).toBe(true);
  });

  it("leaves no connection behind after many sessions opened and dropped at every stage", async () => {
    const tunnels = await Promise.all(
      Array.from({ length: 12 }, async (_, i) => {
        const tunnel = await gateway.session("shop-db");
        const channel = tunnel.open(OPEN);
        await sleep(i * 3);
        channel?.destroy();
        return tunnel;
      }),
    );
    for (const tunnel of tunnels) tunnel.close();
    const count = async () =>
      postgres.withClient("postgres", async (client) => {
        const result = await client.query<{ n: string }>(
          "SELECT count(*) AS n FROM pg_stat_activity WHERE usename = 'sallyport' AND application_name NOT LIKE 'sallyport%'",
        );
        return Number(result.rows[0]?.n);
      });
    expect(await eventually(async () => (await count()) === 0)).toBe(true);
  });

  describe("with a gigabyte", () => {
    /** Resident memory of the connector and its peak, in MiB. */
    async function memory(): Promise<{ now: number; peak: number }> {
      const status = await readFile(`/proc/${connector.child.pid}/status`, "utf8");
      const mebibytes = (field: string) =>
        Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)?.[1]) / 1024;
      return { now: mebibytes("VmRSS"), peak: mebibytes("VmHWM") };
    }

    it("holds little of a result whose reader has stopped, while others go on", async () => {
      const { channel, tunnel } = await gateway.channel("shop-db", OPEN);
      const before = (await memory()).now;
      channel.write(query("SELECT repeat('x', 1000000) FROM generate_series(1, 1000)"));
      await sleep(1500);
      expect((await memory()).now - before).toBeLessThan(32);
      const other = await gateway.channel("shop-db", OPEN);
      expect(await new RawClient(other.channel).query("SELECT 'quick'")).toEqual(["quick"]);
      other.tunnel.close();
      let bytes = 0;
      for await (const part of channel) {
        bytes += (part as Buffer).length;
        if (bytes > 200_000_000) break;
      }
      // While it flows, V8 lets up to some 64 MiB of dead buffers stand before it collects them.
      expect((await memory()).peak - before).toBeLessThan(128);
      tunnel.close();
    }, 60_000);

    it("holds little of what a busy server does not read yet", async () => {
      const { channel, tunnel } = await gateway.channel("shop-db", OPEN);
      const before = (await memory()).now;
      channel.write(query("SELECT pg_sleep(2)"));
      const comment = query(`SELECT 1 /* ${"x".repeat(1 << 20)} */`);
      let sent = 0;
      const sending = (async () => {
        for (; sent < 64; sent += 1) if (!channel.write(comment)) await once(channel, "drain");
      })();
      await sleep(1000);
      expect(sent).toBeLessThan(16);
      expect((await memory()).now - before).toBeLessThan(64);
      const client = new RawClient(channel);
      await client.result();
      for (let i = 0; i < 64; i += 1) expect(await client.result()).toEqual(["1"]);
      await sending;
      tunnel.close();
    });
  });

  it("never writes a secret or a statement to its log, and nothing to stdout", async () => {
    expect(connector.stdout).toBe("");
    expect(connector.stderr).not.toContain(password);
    expect(connector.stderr).not.toContain(gateway.joinToken);
    expect(connector.stderr).not.toMatch(/ticket-\d|pg_sleep|still here/);
    for (const line of connector.stderr.trim().split("\n"))
      expect(() => JSON.parse(line) as unknown).not.toThrow();
  });

  it("reconnects by itself and keeps its identity without the join token", async () => {
    const before = gateway.controls.length;
    gateway.controls.at(-1)?.terminate();
    await gateway.until(() => gateway.controls.length > before);
    expect(gateway.enrolled).toHaveLength(1);
    const { channel, tunnel } = await gateway.channel("shop-db", OPEN);
    expect(await new RawClient(channel).query("SELECT 1")).toEqual(["1"]);
    tunnel.close();
  });

  it("leaves nothing running when it is killed and can cancel nothing any more", async () => {
    const enrolled = await ConnectorProcess.start(
      { ...config(), stateDirectory: join(connector.directory, "state"), joinToken: undefined },
      { SHOP_DB_PASSWORD: password },
    );
    try {
      const before = gateway.controls.length;
      await gateway.until(() => gateway.controls.length > before);
      const { channel } = await gateway.channel("shop-db", OPEN);
      channel.write(query("SELECT count(*) FROM generate_series(1, 100000000000)"));
      expect(await eventually(async () => (await running()) === 1)).toBe(true);
      enrolled.child.kill("SIGKILL");
      expect(await eventually(async () => (await running()) === 0, 15_000)).toBe(true);
    } finally {
      await enrolled.stop();
    }
    const before = gateway.controls.length;
    gateway.controls[gateway.controls.length - 2]?.terminate();
    await gateway.until(() => gateway.controls.length > before);
  });

  it("drains on SIGTERM: no new opens, live sessions go on, then it ends with 0", async () => {
    const directoryOfKey = await readFile(join(connector.directory, "state", "enrolment.json"), "utf8");
    expect(JSON.parse(directoryOfKey)).toEqual({ gateway: gateway.url, name: "demo" });
    const { channel, tunnel } = await gateway.channel("shop-db", OPEN);
    const client = new RawClient(channel);
    const control = gateway.controls.at(-1);
    if (control === undefined) throw new Error("no control socket");
    connector.child.kill("SIGTERM");
    await once(control, "close");
    expect(await client.query("SELECT 'drained'")).toEqual(["drained"]);
    expect(connector.child.exitCode).toBeNull();
    channel.end(TERMINATE);
    tunnel.close();
    expect(await connector.exit()).toBe(0);
  });
});

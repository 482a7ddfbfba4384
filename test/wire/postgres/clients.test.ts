/** Real clients through the machine to a real server: everything as if direct. */
import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import pg from "pg";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { OPEN_GUARD } from "../../../wire/postgres/machine-types.ts";
import { freeze, thaw } from "../../../wire/postgres/machine.ts";
import { type Bridge, type Decide, startBridge } from "./support/bridge.ts";
import { f } from "./support/messages.ts";
import { type PostgresServer, postgresAvailable, startPostgres } from "./support/postgres-server.ts";
import { RawClient } from "./support/raw-client.ts";

const run = promisify(execFile);
const BIN = "/usr/lib/postgresql/15/bin";

describe.skipIf(!postgresAvailable("18"))("clients", () => {
  let server: PostgresServer;
  let bridge: Bridge;
  let url: string;
  let held: ((approved: boolean) => void) | undefined;

  const decide: Decide = (ask) => {
    if (!("sql" in ask) || !ask.sql.includes("held"))
      return { id: ask.id, effect: "forward", guard: OPEN_GUARD };
    return new Promise((resolve) => {
      held = (approved) =>
        resolve(
          approved
            ? { id: ask.id, effect: "forward", guard: OPEN_GUARD }
            : {
                id: ask.id,
                effect: "refuse",
                refusal: { code: "approval_denied", message: "reviewer said no" },
              },
        );
    });
  };

  beforeAll(async () => {
    server = await startPostgres("18");
    bridge = await startBridge({ upstreamPort: server.port, decide });
    url = `postgres://postgres@127.0.0.1:${bridge.port}/postgres`;
  });

  afterAll(async () => {
    await bridge?.close();
    await server?.stop();
  });

  /** What psql prints to standard output and standard error for this script. */
  const psql = (script: string, port: number) =>
    new Promise<{ stdout: string; stderr: string }>((resolve) => {
      const args = ["-X", "-h", "127.0.0.1", "-p", String(port), "-U", "postgres", "-d", "postgres"];
      const child = spawn(`${BIN}/psql`, args, { env: { ...process.env, PGOPTIONS: "-c geqo=on" } });
      const output = { stdout: "", stderr: "" };
      child.stdout.on("data", (data: Buffer) => (output.stdout += data.toString()));
      child.stderr.on("data", (data: Buffer) => (output.stderr += data.toString()));
      child.once("close", () => resolve(output));
      child.stdin.end(script);
    });

  describe.skipIf(!existsSync(`${BIN}/pgbench`))("of PostgreSQL itself", () => {
    it("psql prints the same as when it is connected directly", async () => {
      const script = String.raw`
      \set VERBOSITY verbose
      create temp table p (a int primary key, b text);
      \copy p from program 'seq 1 5 | sed s/$/,x/' with (format csv)
      \copy (select * from p where a < 3) to stdout
      select * from p \; select count(*) from p;
      select * from nothing;
      begin;
      select 1/0;
      select 1;
      rollback;
      do $$ begin raise notice 'hello'; end $$;
      \d pg_namespace
      \x
      select * from p limit 1;
      \set FETCH_COUNT 2
      select * from p;
      select repeat('é', 10) as unicode;
      copy p from stdin;
9	nine
bad
\.
      select 'still here';
    `;
      const direct = await psql(script, server.port);
      const bridged = await psql(script, bridge.port);
      expect(bridged).toEqual(direct);
      expect(bridged.stdout).toContain("still here");
      expect(bridged.stderr).toContain("division by zero");
    });

    it("Ctrl-C in psql cancels the statement and not the session", async () => {
      const child = spawn(`${BIN}/psql`, [
        "-X",
        "-h",
        "127.0.0.1",
        "-p",
        String(bridge.port),
        "-U",
        "postgres",
        "-d",
        "postgres",
        "-At",
        "-c",
        "select pg_sleep(30)",
        "-c",
        "select 'alive'",
      ]);
      let output = "";
      child.stdout.on("data", (data: Buffer) => (output += data.toString()));
      child.stderr.on("data", (data: Buffer) => (output += data.toString()));
      const started = Date.now();
      await sleep(500);
      child.kill("SIGINT");
      await new Promise((resolve) => child.once("close", resolve));
      expect(Date.now() - started).toBeLessThan(5000);
      expect(output).toContain("canceling statement due to user request");
    });

    it("pgbench runs in all three modes", { timeout: 60_000 }, async () => {
      const args = ["-h", "127.0.0.1", "-p", String(bridge.port), "-U", "postgres", "postgres"];
      await run(`${BIN}/pgbench`, ["-i", "-q", ...args]);
      for (const mode of ["simple", "extended", "prepared"]) {
        const { stdout } = await run(`${BIN}/pgbench`, [
          "-S",
          "-n",
          "-M",
          mode,
          "-c",
          "4",
          "-t",
          "200",
          ...args,
        ]);
        expect(stdout).toContain("number of transactions actually processed: 800/800");
        const tpcb = await run(`${BIN}/pgbench`, ["-n", "-M", mode, "-c", "2", "-t", "50", ...args]);
        expect(tpcb.stdout).toContain("number of failed transactions: 0");
      }
    });
  });

  it("node-postgres queries, prepares, copies types, reports errors and is notified", async () => {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    const { rows, fields } = await client.query(
      "select $1::int as i, $2::jsonb as j, now() as t, null as n, $3::bytea as b",
      [5, { a: [1] }, Buffer.from([0, 255])],
    );
    expect(rows[0]).toMatchObject({ i: 5, j: { a: [1] }, n: null, b: Buffer.from([0, 255]) });
    expect(fields.map(({ name }) => name)).toEqual(["i", "j", "t", "n", "b"]);
    for (let i = 0; i < 3; i++) {
      expect(
        (await client.query({ name: "same", text: "select $1::text as v", values: [`x${i}`] })).rows,
      ).toEqual([{ v: `x${i}` }]);
    }
    await expect(client.query("select * from nothing_here")).rejects.toMatchObject({
      code: "42P01",
      position: "15",
    });
    await expect(client.query("select $1::int", ["abc"])).rejects.toMatchObject({ code: "22P02" });
    const notified = new Promise((resolve) => client.once("notification", resolve));
    await client.query("listen jobs");
    await client.query("notify jobs, 'payload'");
    expect(await notified).toMatchObject({ channel: "jobs", payload: "payload" });
    const multi = (await client.query("select 1 as a; select 2 as b")) as unknown as pg.QueryResult[];
    expect(multi.map((result) => result.rows)).toEqual([[{ a: 1 }], [{ b: 2 }]]);
    await client.end();
  });

  it("postgres.js pipelines, opens cursors, transactions and COPY streams", async () => {
    const sql = postgres(url, { max: 3, onnotice: () => undefined });
    const many = await Promise.all(Array.from({ length: 200 }, (_, i) => sql`select ${i}::int as i`));
    expect(many.map(([row]) => row?.["i"])).toEqual(Array.from({ length: 200 }, (_, i) => i));
    let seen = 0;
    await sql`select * from generate_series(1, 95) g`.cursor(10, (rows) => {
      seen += rows.length;
    });
    expect(seen).toBe(95);
    await sql`create table if not exists w (a int, b text)`;
    await expect(
      sql.begin(async (transaction) => {
        await transaction`insert into w values (1, 'x')`;
        await transaction`select 1/0`;
      }),
    ).rejects.toMatchObject({ code: "22012" });
    expect(await sql`select * from w`).toHaveLength(0);
    const writable = await sql`copy w from stdin`.writable();
    for (let i = 0; i < 1000; i++) writable.write(`${i}\trow ${i}\n`);
    await new Promise<void>((resolve, reject) => {
      writable.once("finish", resolve).once("error", reject);
      writable.end();
    });
    expect((await sql`select count(*)::int as c from w`)[0]?.["c"]).toBe(1000);
    await sql.end();
  });

  it("a held statement waits, is told why, and runs or fails by the verdict", async () => {
    const client = await RawClient.open(bridge.port);
    for (const [approved, answer] of [
      [true, ["T", "D 1", "C SELECT 1", "Z I"]],
      [false, ["E 42501", "Z I"]],
    ] as const) {
      client.send(f.query("select 1 as held"), f.query("select 2"));
      while (held === undefined) await sleep(5);
      const session = [...bridge.sessions].find(({ state }) => state.pending !== undefined);
      session?.input({ kind: "notice", message: "held for dba" });
      expect(await client.words("N")).toEqual(["N 00000"]);
      held(approved);
      held = undefined;
      expect(await client.words("Z")).toEqual(answer);
      expect(await client.words("Z")).toEqual(["T", "D 2", "C SELECT 1", "Z I"]);
    }
    client.close();
  });

  it("a session goes on from its frozen text", async () => {
    const client = await RawClient.open(bridge.port);
    await client.run(f.parse("select 'kept'", "k"), f.sync);
    const session = [...bridge.sessions].at(-1);
    const text = freeze(session?.state ?? thaw("{}")) ?? "";
    Object.assign(session?.state ?? {}, thaw(text));
    expect(await client.run(f.bind([], "k"), f.execute(), f.sync)).toEqual([
      "2",
      "D kept",
      "C SELECT 1",
      "Z I",
    ]);
    client.close();
  });

  it(
    "a value of 100 MB, COPY of 30 MB in one message and 300 MB of rows pass in little memory",
    { timeout: 60_000 },
    async () => {
      const client = await RawClient.open(bridge.port);
      await client.run(f.query("create table big (v text); alter table big alter v set storage external"));
      client.close();
      let peak = 0;
      const watch = setInterval(() => {
        for (const { state } of bridge.sessions)
          peak = Math.max(peak, state.server.buffered + state.client.buffered);
      }, 5);
      // A reader that counts, so that the client's own memory is not what is measured.
      const counted = (sql: string) =>
        new Promise<number>((resolve, reject) => {
          const socket = connect({ port: bridge.port, host: "127.0.0.1" });
          let bytes = 0;
          let tail = Buffer.alloc(0);
          let ready = 0;
          socket.write(Buffer.concat([Buffer.from("\0\0\0\x17\0\x03\0\0user\0postgres\0\0", "latin1")]));
          socket.on("error", reject);
          socket.on("data", (data) => {
            bytes += data.length;
            tail = Buffer.concat([tail, data]).subarray(-6);
            if (tail.toString("latin1", 0, 5) !== "Z\0\0\0\x05") return;
            if (ready++ === 0) socket.write(f.query(sql));
            else {
              socket.destroy();
              resolve(bytes);
            }
          });
        });
      const before = process.memoryUsage().rss;
      expect(await counted("select repeat('x', 100000000)")).toBeGreaterThan(100_000_000);
      expect(await counted("copy (select repeat('x', 30000000)) to stdout")).toBeGreaterThan(30_000_000);
      expect(await counted("select repeat('y', 1000) from generate_series(1, 300000)")).toBeGreaterThan(
        300_000_000,
      );
      clearInterval(watch);
      expect(peak).toBeLessThan(256 << 10);
      expect(process.memoryUsage().rss - before).toBeLessThan(150 << 20);
    },
  );
});

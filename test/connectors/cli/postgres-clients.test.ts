import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Oidc, startOidc } from "../../../scripts/lib/oidc.ts";
import { freePort } from "../../../scripts/lib/ports.ts";
import { type Postgres, generatePassword, startPostgres } from "../../../scripts/lib/postgres.ts";
import { type StandIn, startStandIn } from "./stand-in-gateway.ts";
import { execute, start, until } from "./support.ts";

let directory: string;
let oidc: Oidc;
let postgres: Postgres;
let gateway: StandIn;
let environment: Record<string, string>;

const USER = "engineer@shop.example";

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "sally-test-"));
  oidc = await startOidc();
  postgres = await startPostgres({
    dataDirectory: join("/var/tmp", `sally-test-${process.pid}`),
    superuserPassword: generatePassword(),
    // The connector logs in for the user; the stand-in has none, so the user gets in without a password.
    hba: ["host all postgres 127.0.0.1/32 scram-sha-256", "host all all 127.0.0.1/32 trust"],
    unsafe: true,
  });
  await postgres.withClient("postgres", async (client) => {
    await client.query(`create role "${USER}" login superuser`);
    await client.query('create database "shop-db"');
    await client.query('create database "other"');
  });
  gateway = await startStandIn({
    issuer: { issuer: oidc.issuer, clientId: oidc.clientId, publicKey: oidc.publicKey },
    upstreamPort: postgres.port,
  });
  const token = join(directory, "engineer.jwt");
  await writeFile(token, await oidc.issueIdToken("engineer", { ttl: 600 }));
  environment = { SALLY_GATEWAY: gateway.url, SALLY_TOKEN_FILE: token, TMPDIR: directory };
});

afterAll(async () => {
  await gateway?.stop();
  await postgres?.stop();
  await oidc?.stop();
  await rm(directory, { recursive: true, force: true });
  await rm(join("/var/tmp", `sally-test-${process.pid}`), { recursive: true, force: true });
});

beforeEach(() => {
  gateway.notices.clear();
  gateway.refusals.clear();
  gateway.exchanges.length = 0;
  gateway.connections.length = 0;
  gateway.tokenLife = 900;
});

describe("sally psql", () => {
  it("runs real psql through the tunnel into a real PostgreSQL", async () => {
    const ran = await start(
      ["psql", "shop-db", "--", "-Atc", "select current_user, current_database()"],
      environment,
    ).done;
    expect(ran).toEqual({ code: 0, out: `${USER}|shop-db\n`, err: "" });
    expect(gateway.exchanges).toHaveLength(1);
    expect(gateway.exchanges[0]?.getAll("resource")).toEqual(["shop-db"]);
  });

  it("removes its socket directory afterwards", async () => {
    await start(["psql", "shop-db", "--", "-c", "select 1"], environment).done;
    expect((await readdir(directory)).filter((name) => name.startsWith("sally-"))).toEqual([]);
  });

  it("ignores what the user's environment says about servers and passwords", async () => {
    const misleading = {
      PGHOSTADDR: "10.1.1.1",
      PGSERVICE: "none",
      PGSSLMODE: "verify-full",
      PGCHANNELBINDING: "require",
      PGDATABASE: "other",
    };
    const ran = await start(["psql", "shop-db", "--", "-Atc", "select current_database()"], {
      ...environment,
      ...misleading,
    }).done;
    expect(ran).toEqual({ code: 0, out: "shop-db\n", err: "" });
  });

  it("passes psql's own exit codes through: 1 for a failed -c, 2 for no connection, 3 with ON_ERROR_STOP in a script", async () => {
    expect((await start(["psql", "shop-db", "--", "-c", "select 1/0"], environment).done).code).toBe(1);
    expect(
      (await start(["psql", "shop-db", "--", "-d", "missing", "-c", "select 1"], environment).done).code,
    ).toBe(2);
    const script = await start(
      ["psql", "shop-db", "--", "-v", "ON_ERROR_STOP=1"],
      environment,
      "select 1/0;\n",
    ).done;
    expect(script.code).toBe(3);
  });

  it("gives 3 for a failing psql in whose session an operation was denied, and leaves success alone", async () => {
    gateway.notices.set("shop-db", [{ type: "refused", code: "denied_by_policy", message: "no" }]);
    expect((await start(["psql", "shop-db", "--", "-c", "select 1/0"], environment).done).code).toBe(3);
    expect(await start(["psql", "shop-db", "--", "-Atc", "select 1"], environment).done).toEqual({
      code: 0,
      out: "1\n",
      err: "",
    });
  });

  it("gives 4 and names the approval for a failing psql whose operation is held with --no-wait", async () => {
    gateway.notices.set("shop-db", [
      { type: "held", approval: "apr_1", url: "https://gateway.example/approvals/apr_1", waiting: false },
      { type: "refused", code: "approval_required", message: "held", approval: "apr_1" },
    ]);
    const ran = await start(
      ["psql", "shop-db", "--no-wait", "--reason", "größer", "--", "-c", "select 1/0"],
      environment,
    ).done;
    expect(ran.code).toBe(4);
    expect(ran.err).toContain(
      "sally: held: needs approval apr_1; the same operation passes when it is sent again after: sally approvals approve apr_1\n",
    );
    expect(ran.err).toContain("  see: https://gateway.example/approvals/apr_1\n");
    expect(gateway.connections[0]?.headers).toMatchObject({
      "sally-no-wait": "1",
      "sally-reason": "gr%C3%B6%C3%9Fer",
    });
  });

  it("says that it waits for an approval", async () => {
    gateway.notices.set("shop-db", [{ type: "held", approval: "apr_2", url: "", waiting: true }]);
    const ran = await start(["psql", "shop-db", "--", "-Atc", "select 1"], environment).done;
    expect(ran).toEqual({
      code: 0,
      out: "1\n",
      err: "sally: held: waiting for approval apr_2; approve with: sally approvals approve apr_2\n",
    });
  });

  it("tells psql in its own protocol why the gateway refuses the session, and exits by the refusal", async () => {
    gateway.refusals.set("shop-db", {
      code: "connector_offline",
      message: "connector office-1 is offline",
      hint: "start it",
    });
    const ran = await start(["psql", "shop-db", "--", "-c", "select 1"], environment).done;
    expect(ran.code).toBe(6);
    expect(ran.err).toMatch(/psql: error: .*FATAL: {2}connector office-1 is offline\nHINT: {2}start it\n/);
    expect(ran.err).toContain("sally: connector office-1 is offline\n  hint: start it\n");
  });

  it("does not start psql without a valid token, and exits 5", async () => {
    const expired = join(directory, "expired.jwt");
    await writeFile(expired, await oidc.issueIdToken("engineer", { ttl: -10 }));
    const ran = await start(["psql", "shop-db", "--token-file", expired], environment).done;
    expect(ran).toMatchObject({ code: 5, out: "" });
    expect(ran.err).toBe(
      "sally: the gateway did not accept the identity token: the identity token is not valid\n" +
        `  hint: the token in ${expired} has to be a current ID token of an issuer that the gateway trusts\n`,
    );
    expect(gateway.connections).toHaveLength(0);
  });

  it("exits 1 for a resource that does not exist and 6 for a gateway that is not there", async () => {
    const unknown = await start(["psql", "no-such-db"], environment).done;
    expect(unknown).toMatchObject({
      code: 1,
      err: "sally: there is no resource no-such-db that you can reach\n  hint: see what there is with: sally ls\n",
    });
    const closed = await freePort();
    const away = await start(["psql", "shop-db"], {
      ...environment,
      SALLY_GATEWAY: `http://127.0.0.1:${closed}`,
    }).done;
    expect(away).toMatchObject({
      code: 6,
      err: `sally: the gateway http://127.0.0.1:${closed} is not reachable: connection refused\n`,
    });
  });

  it("says how to install psql when it is missing", async () => {
    const ran = await start(["psql", "shop-db"], { ...environment, PATH: "/nonexistent:/usr/bin/.." }).done;
    expect(ran.code).toBe(1);
    expect(ran.err).toMatch(
      /^sally: psql is not installed or not on the PATH\n {2}hint: install it with: apt install postgresql-client/,
    );
  });

  it("survives Ctrl-C, which cancels psql's statement through a connection of its own", async () => {
    const { child, done } = start(["psql", "shop-db", "--", "-c", "select pg_sleep(30)"], { ...environment });
    await until(() => gateway.connections.length === 1);
    const active = (): Promise<number> =>
      postgres.withClient(
        "postgres",
        async (client) =>
          (
            await client.query(
              "select from pg_stat_activity where query like 'select pg_sleep%' and state = 'active' and pid <> pg_backend_pid()",
            )
          ).rowCount ?? 0,
      );
    while ((await active()) === 0) await new Promise((resolve) => setTimeout(resolve, 50));
    // A terminal sends SIGINT to the whole foreground group: to sally and to psql.
    const psql = await execute("pgrep", ["-P", String(child.pid), "psql"]);
    process.kill(Number(psql), "SIGINT");
    child.kill("SIGINT");
    const ran = await done;
    expect(ran.err).toContain("canceling statement due to user request");
    expect(ran.code).toBe(1);
    expect(gateway.connections).toHaveLength(2);
  });

  it("hands SIGTERM on to psql and gives 143", async () => {
    const { child, done } = start(["psql", "shop-db", "--", "-c", "select pg_sleep(30)"], environment);
    await until(() => gateway.connections.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 300));
    child.kill("SIGTERM");
    expect((await done).code).toBe(143);
  });

  it("carries a large result without loss", async () => {
    const sql = "copy (select md5(n::text) from generate_series(1, 1000000) n) to stdout";
    const through = start(["psql", "shop-db", "--", "-Atc", sql], environment);
    const { createHash } = await import("node:crypto");
    const digest = createHash("sha256");
    let length = 0;
    through.child.stdout.on("data", (text: string) => {
      digest.update(text);
      length += text.length;
    });
    expect((await through.done).code).toBe(0);
    const expected = createHash("sha256");
    for (let n = 1; n <= 1_000_000; n++)
      expected.update(`${createHash("md5").update(String(n)).digest("hex")}\n`);
    expect(length).toBe(33_000_000);
    expect(digest.digest("hex")).toBe(expected.digest("hex"));
  });

  it("says when the gateway is lost in the middle", async () => {
    const { done } = start(["psql", "shop-db", "--", "-c", "select pg_sleep(30)"], environment);
    await until(() => gateway.connections.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 500));
    const connection = gateway.connections[0];
    connection?.tunnel.control({
      type: "ended",
      code: "gateway_restarted",
      message: "the gateway has restarted",
    });
    connection?.tunnel.close();
    const ran = await done;
    expect(ran.err).toContain("sally: the session has ended: the gateway has restarted\n");
    expect(ran.code).toBe(6);
  });
});

describe("a gateway that crashes", () => {
  it("is reported as lost, with 6, and the client's connection ends", async () => {
    const { done } = start(["psql", "shop-db", "--", "-c", "select pg_sleep(30)"], environment);
    await until(() => gateway.connections.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 500));
    gateway.connections[0]?.cut();
    const ran = await done;
    expect(ran.code).toBe(6);
    expect(ran.err).toContain(
      "sally: the connection to the gateway was lost\n  hint: whether the last statement took effect is for the database to say\n",
    );
    expect(ran.err).toContain("server closed the connection unexpectedly");
  });
});

describe("sally run", () => {
  const show =
    "console.log(JSON.stringify([process.env.PGHOST, process.env.PGPORT, process.env.PGDATABASE, process.env.PGUSER, process.env.PGSSLMODE, process.env.PGGSSENCMODE, process.env.DATABASE_URL]))";

  it("gives the command a socket that only the user can use", async () => {
    const ran = await start(
      [
        "run",
        "shop-db",
        "--",
        "sh",
        "-c",
        'stat -c "%a %U" "$PGHOST"; stat -c %F "$PGHOST/.s.PGSQL.$PGPORT"',
      ],
      environment,
    ).done;
    expect(ran).toMatchObject({ code: 0, out: "700 root\nsocket\n" });
  });

  it("keeps the token from the command", async () => {
    const token = await oidc.issueIdToken("engineer", { ttl: 600 });
    const { SALLY_TOKEN_FILE: _, ...without } = environment;
    const ran = await start(["run", "shop-db", "--", "env"], { ...without, SALLY_TOKEN: token }).done;
    expect(ran.code).toBe(0);
    expect(ran.out).not.toContain(token);
    expect(ran.out).toContain("PGSSLMODE=disable\n");
  });

  it.each([[[]], [["--tcp"]]])(
    "works for libpq by URI, node-postgres and postgres.js (%j)",
    async (extra) => {
      const libpq = await start(
        [
          "run",
          "shop-db",
          ...extra,
          "--",
          "sh",
          "-c",
          'psql "$DATABASE_URL" -Atc "select current_database()"',
        ],
        environment,
      ).done;
      expect(libpq).toMatchObject({ code: 0, out: "shop-db\n" });
      const node = (script: string): Promise<{ code: number; out: string }> =>
        start(
          ["run", "shop-db", ...extra, "--", process.execPath, "--input-type=module", "-e", script],
          environment,
        ).done;
      const url = await node(
        'import pg from "pg"; const c = new pg.Client({connectionString: process.env.DATABASE_URL}); await c.connect(); console.log((await c.query("select current_database() as d")).rows[0].d); await c.end()',
      );
      expect(url).toMatchObject({ code: 0, out: "shop-db\n" });
      const variables = await node(
        'import pg from "pg"; const c = new pg.Client(); await c.connect(); console.log((await c.query("select current_database() as d")).rows[0].d); await c.end()',
      );
      expect(variables).toMatchObject({ code: 0, out: "shop-db\n" });
      const porsager = await node(
        `import postgres from "postgres"; const sql = postgres(${extra.length > 0 ? "process.env.DATABASE_URL" : ""}); console.log((await sql\`select current_database() as d\`)[0].d); await sql.end()`,
      );
      expect(porsager).toMatchObject({ code: 0, out: "shop-db\n" });
    },
  );

  it.skipIf(process.getuid?.() !== 0)("gives a TCP port with --tcp that turns other users away", async () => {
    const { child, done, seen } = start(
      ["run", "shop-db", "--tcp", "--", process.execPath, "-e", `${show}; setTimeout(() => {}, 60000)`],
      environment,
    );
    await until(() => seen().out.includes("\n"));
    const [host, port] = JSON.parse(seen().out) as string[];
    expect(host).toBe("127.0.0.1");
    const words = ["--reuid=65534", "--regid=65534", "--clear-groups", "psql", "-h", "127.0.0.1"];
    const stranger = execute(
      "setpriv",
      [...words, "-p", String(port), "-U", USER, "-d", "shop-db", "-c", "select 1"],
      {
        PGSSLMODE: "disable",
      },
    );
    await expect(stranger).rejects.toThrow("server closed the connection unexpectedly");
    expect(gateway.connections).toHaveLength(0);
    expect(seen().err).toContain("sally: turned away a connection of another user of this machine\n");
    child.kill("SIGTERM");
    await done;
  });

  it("passes the command's exit code through", async () => {
    expect((await start(["run", "shop-db", "--", "sh", "-c", "exit 42"], environment).done).code).toBe(42);
  });
});

describe("sally connect and proxy", () => {
  it("listens on 127.0.0.1 and says how to connect", async () => {
    const { child, done, seen } = start(["connect", "shop-db"], environment);
    await until(() => seen().out.includes("psql"));
    const url = /psql '([^']+)'/.exec(seen().out)?.[1] ?? "";
    expect(await execute("psql", [url, "-Atc", "select current_database()"])).toBe("shop-db\n");
    // A client that asks for TLS first gets the server's own answer.
    const preferring = url.replace("sslmode=disable", "sslmode=prefer");
    expect(await execute("psql", [preferring, "-Atc", "select 1"])).toBe("1\n");
    child.kill("SIGINT");
    expect(await done).toMatchObject({ code: 0 });
  });

  it("answers a client that asks for TLS with the reason when there is no session", async () => {
    gateway.refusals.set("shop-db", { code: "resource_not_in_token", message: "not for you" });
    const { child, done, seen } = start(["connect", "shop-db"], environment);
    await until(() => seen().out.includes("psql"));
    const url = /psql '([^']+)'/.exec(seen().out)?.[1] ?? "";
    const preferring = url.replace("sslmode=disable", "sslmode=prefer");
    await expect(execute("psql", [preferring, "-c", "select 1"])).rejects.toThrow(/FATAL: {2}not for you/);
    child.kill("SIGINT");
    await done;
  });

  it("says which port is in use", async () => {
    const ran = await start(["connect", "shop-db", "--port", String(postgres.port)], environment).done;
    expect(ran).toMatchObject({ code: 1, out: "" });
    expect(ran.err).toBe(
      `sally: cannot listen on 127.0.0.1:${postgres.port}: the port is in use\n  hint: choose another port, or leave --port out to take a free one\n`,
    );
  });

  it("renews the session's token before it ends", async () => {
    gateway.tokenLife = 4;
    const { child, done } = start(["psql", "shop-db", "--", "-c", "select pg_sleep(3)"], environment);
    await until(() => (gateway.connections[0]?.controls.length ?? 0) > 0);
    const renewed = JSON.parse(gateway.connections[0]?.controls[0] ?? "") as { type: string; token: string };
    expect(renewed.type).toBe("renew");
    expect(`Bearer ${renewed.token}`).not.toBe(gateway.connections[0]?.headers.authorization);
    child.kill("SIGTERM");
    await done;
  });

  it("carries one connection over stdin and stdout, and ends with it", async () => {
    // SSLRequest, answered N by a server without TLS; then the client goes away.
    const ran = await start(["proxy", "shop-db"], environment, Buffer.from("0000000804d2162f", "hex")).done;
    expect(ran).toEqual({ code: 0, out: "N", err: "" });
    gateway.refusals.set("shop-db", { code: "connector_offline", message: "connector office-1 is offline" });
    const refused = await start(["proxy", "shop-db"], environment).done;
    expect(refused).toEqual({ code: 6, out: "", err: "sally: connector office-1 is offline\n" });
  });
});

describe("a client that stops reading", () => {
  it("does not make sally grow", async () => {
    const query = "copy (select repeat('x', 1000) from generate_series(1, 400000)) to stdout";
    const { child, done } = start(
      ["run", "shop-db", "--", "sh", "-c", `psql -c "${query}" | (sleep 3; wc -c)`],
      environment,
    );
    await until(() => gateway.connections.length === 1);
    const sizes: number[] = [];
    for (let sample = 0; sample < 10; sample++) {
      const [, size] = /VmRSS:\s+(\d+) kB/.exec(await readFile(`/proc/${child.pid}/status`, "utf8")) ?? [];
      sizes.push(Number(size) / 1024);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    expect(Math.max(...sizes) - (sizes[0] ?? 0)).toBeLessThan(64);
    expect(await done).toMatchObject({ code: 0, out: "400400000\n" });
  });
});

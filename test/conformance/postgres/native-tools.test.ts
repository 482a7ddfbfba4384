/** PostgreSQL's own tools through `sally`: as if there were nothing in between. */
import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Stack, sharedStack } from "../../support/stack.ts";

const run = promisify(execFile);

let stack: Stack;
let directory: string;
let scratchUrl: string;

beforeAll(async () => {
  stack = sharedStack();
  directory = await mkdtemp(join(tmpdir(), "sallyport-tools-"));
  scratchUrl = stack.shopUrl.replace(/shop$/, "scratch");
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** The distribution's own binaries: some of them are not on the PATH. */
function tool(name: string): string {
  const versions = readdirSync("/usr/lib/postgresql").sort((a, b) => Number(b) - Number(a));
  return join("/usr/lib/postgresql", versions[0] ?? "", "bin", name);
}

const sallyRun = (...command: string[]) =>
  stack.sally("reviewer-a", ["run", "scratch-db", "--", ...command], { timeout: 120_000 });

describe("pgbench", () => {
  beforeAll(async () => {
    const made = await sallyRun(tool("pgbench"), "-i", "-q", "-s", "1");
    if (made.code !== 0) throw new Error(made.stderr);
  });
  afterAll(() =>
    stack.direct(
      (client) =>
        client.query(
          "drop table if exists pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers",
        ),
      scratchUrl,
    ),
  );

  it.each(["simple", "extended", "prepared"])(
    "-S and TPC-B in %s mode",
    { timeout: 120_000 },
    async (mode) => {
      const select = await sallyRun(tool("pgbench"), "-S", "-n", "-M", mode, "-c", "4", "-t", "100");
      expect(select.stdout, select.stderr).toContain("number of transactions actually processed: 400/400");
      const before = await balance();
      const write = await sallyRun(tool("pgbench"), "-n", "-M", mode, "-c", "4", "-t", "25");
      expect(write.stdout, write.stderr).toContain("number of transactions actually processed: 100/100");
      expect(write.stdout).toContain("number of failed transactions: 0");
      const after = await balance();
      // TPC-B's own invariant: every branch, teller and account has what the history says.
      expect(new Set([after.branches, after.tellers, after.accounts, after.history]).size).toBe(1);
      expect(after.rows - before.rows).toBe(100);
    },
  );

  async function balance(): Promise<
    Record<"branches" | "tellers" | "accounts" | "history" | "rows", number>
  > {
    return stack.direct(async (client) => {
      const { rows } = await client.query(
        `select (select sum(bbalance)::int from pgbench_branches) as branches,
                (select sum(tbalance)::int from pgbench_tellers) as tellers,
                (select sum(abalance)::int from pgbench_accounts) as accounts,
                (select coalesce(sum(delta), 0)::int from pgbench_history) as history,
                (select count(*)::int from pgbench_history) as rows`,
      );
      return rows[0] as Record<"branches" | "tellers" | "accounts" | "history" | "rows", number>;
    }, scratchUrl);
  }

  it("with libpq's pipeline mode", async () => {
    const script = join(directory, "pipeline.sql");
    const statements = Array.from(
      { length: 20 },
      (_, i) => `select abalance from pgbench_accounts where aid = :aid + ${i};`,
    );
    await writeFile(
      script,
      `\\set aid random(1, 90000)\n\\startpipeline\n${statements.join("\n")}\n\\endpipeline\n`,
    );
    for (const mode of ["extended", "prepared"]) {
      const ran = await sallyRun(tool("pgbench"), "-n", "-M", mode, "-c", "2", "-t", "50", "-f", script);
      expect(ran.stdout, ran.stderr).toContain("number of transactions actually processed: 100/100");
    }
  });
});

describe("psql", () => {
  const SCRIPT = String.raw`
    \set VERBOSITY verbose
    \set SHOW_CONTEXT always
    create temp table p (a int primary key, b text);
    \copy p from program 'seq 1 5 | sed s/$/,x/' with (format csv)
    \copy (select * from p where a < 3) to stdout
    \copy p (a, b) from stdin
6	six
7	\N
\.
    copy p to stdout with (format csv, header);
    select * from p \; select count(*) from p;
    select * from nothing;
    begin;
    select 1/0;
    select 1;
    rollback;
    do $$ begin raise notice 'hello'; end $$;
    do $$ begin perform 1/0; end $$;
    \d pg_namespace
    \dt pg_catalog.pg_am
    \x
    select * from p limit 1;
    \x
    \set FETCH_COUNT 2
    select * from p;
    \unset FETCH_COUNT
    select repeat('é', 10) as unicode, E'tab\there' as tab;
    select 'a' as x \gset
    \echo :x
    selec 1;
    select *
      fro p;
    prepare q as select $1::int; execute q(3);
    copy p from stdin;
9	nine
bad
\.
    select 'still here';
    \watch
    \encoding
    \errverbose
    `;

  it("prints the same as when it is connected directly, \\copy in and out among it", async () => {
    const file = join(directory, "script.sql");
    await writeFile(file, SCRIPT.replace("    \\watch\n", ""));
    const options = ["-X", "-a", "-f", file];
    const direct = await run("psql", [...options, scratchUrl], {
      env: { ...process.env, PSQLRC: "/dev/null", LC_ALL: "C.UTF-8", PAGER: "cat" },
    }).catch((error: { stdout: string; stderr: string }) => error);
    const gateway = await stack.sally("reviewer-a", ["psql", "scratch-db", "--", ...options]);
    // Statements that do not parse, and unknown names, fail in the gateway: no source line of the server's.
    const comparable = (text: string): string =>
      text
        .replaceAll(/^LOCATION: {2}(scanner_yyerror|FetchPreparedStatement),.*\n/gm, "")
        .replaceAll(/^HINT: {2}prepare it in this session\n/gm, "");
    expect(gateway.stdout).toBe(direct.stdout);
    expect(comparable(gateway.stderr.replaceAll(/^sally: .*\n/gm, ""))).toBe(comparable(direct.stderr));
    expect(gateway.stdout).toContain("still here");
    expect(gateway.stderr).toContain("division by zero");
  });

  it("copies a large file in and out unchanged", { timeout: 120_000 }, async () => {
    const [source, back] = [join(directory, "in.csv"), join(directory, "out.csv")];
    const lines = Array.from({ length: 100_000 }, (_, i) => `${i},"line ${i}, with ""quotes"" and ü"\n`).join(
      "",
    );
    await writeFile(source, lines);
    const ran = await stack.sally("reviewer-a", [
      "psql",
      "scratch-db",
      "--",
      "-Xq",
      ...["create temp table big (n int, line text)", `\\copy big from '${source}' csv`].flatMap((c) => [
        "-c",
        c,
      ]),
      ...[`\\copy (select * from big order by n) to '${back}' csv force quote line`].flatMap((c) => [
        "-c",
        c,
      ]),
    ]);
    expect(ran, ran.stderr).toMatchObject({ code: 0 });
    await run("cmp", [source, back]);
  });

  it("stops a statement with Ctrl-C and goes on in the same session", async () => {
    // Only at a terminal does psql go on after Ctrl-C, and there sally gets the signal as well.
    const running = stack.startSally("reviewer-a", ["psql", "scratch-db", "--", "-XAt"], { terminal: true });
    running.write("select 'rea' || 'dy';\n");
    await running.waitFor("stdout", /ready/);
    for (let round = 1; round <= 3; round++) {
      running.write(`select pg_sleep(30), ${round};\n`);
      await expect
        .poll(
          () =>
            stack.direct(
              async (client) =>
                (
                  await client.query(
                    "select 1 from pg_stat_activity where datname = 'scratch' and state = 'active' and query = $1",
                    [`select pg_sleep(30), ${round};`],
                  )
                ).rowCount,
            ),
          { timeout: 10_000 },
        )
        .toBe(1);
      running.write("\u0003");
      await running.waitFor("stdout", new RegExp(`(canceling statement due to user request[^]*){${round}}`));
    }
    running.write("select 'ali' || 've';\n");
    await running.waitFor("stdout", /alive/);
    running.write("\\q\n");
    const { code, stdout } = await running.result;
    expect(code, stdout).toBe(0);
  });
});

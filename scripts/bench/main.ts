/**
 * `npm run bench [-- --quick] [-- --json] [-- --only postgres|ssh]`: the gateway compared, in one run on one machine, with the direct
 * connection and with a bare byte pipe over the same platform. Only the ratios mean something elsewhere.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type System, demoConfiguration, startSystem } from "../lib/system.ts";
import { bigSelect, findPgbench, idleMemory, initialise, openRate, selectRate } from "./measure.ts";
import { compareSsh } from "./ssh.ts";
import {
  BENCH_DATABASE,
  BENCH_RESOURCE,
  type Row,
  type Way,
  directWay,
  gatewayWay,
  pipeWay,
} from "./ways.ts";

/** The demo's policies; the table that pgbench reads has a masked column, so that every statement is rewritten. */
async function configuration(values: { readonly issuer: string }): Promise<Record<string, string>> {
  const files = await demoConfiguration(values);
  const resource = `
  ${BENCH_RESOURCE}:
    protocol: postgres
    connector: demo
    database: ${BENCH_DATABASE}
    masks:
      public.pgbench_accounts.filler: full
`;
  return { ...files, "sallyport.yaml": `${files["sallyport.yaml"] ?? ""}${resource}` };
}

async function compare(system: System, ways: readonly Way[], quick: boolean): Promise<Row[]> {
  const pgbench = findPgbench();
  const [direct] = ways;
  if (pgbench === undefined || direct === undefined) {
    throw new Error("pgbench is needed: install postgresql (Debian) or add it to the PATH");
  }
  await initialise(pgbench, direct, quick ? 1 : 5);
  await system.waitUntilOnline(BENCH_RESOURCE);
  const rows: Row[] = [];
  const measure = async (what: string, unit: string, one: (way: Way) => Promise<number>): Promise<void> => {
    const values: Partial<Record<Way["name"], number>> = {};
    for (const way of ways) {
      process.stderr.write(`bench: ${what}, ${way.name}\n`);
      values[way.name] = await one(way);
    }
    rows.push({ what, unit, values: values as Record<Way["name"], number> });
  };
  const seconds = quick ? 2 : 10;
  for (const prepared of [false, true]) {
    for (const clients of [1, 8]) {
      const what = `pgbench -S, ${prepared ? "prepared" : "simple"}, ${clients} client${clients === 1 ? "" : "s"}`;
      await measure(what, "tps", (way) => selectRate(pgbench, way, { clients, seconds, prepared }));
    }
  }
  await measure("SELECT of 100,000 rows", "ms", bigSelect);
  await measure("sessions opened", "per s", (way) => openRate(way, quick ? 50 : 300));
  return rows;
}

function print(
  rows: readonly Row[],
  idle: { readonly sessions: number; readonly bytesPerSession: number } | undefined,
): void {
  const line = (cells: readonly string[]): string =>
    cells.map((cell, i) => (i === 0 ? cell.padEnd(34) : cell.padStart(12))).join("");
  console.log(line(["", "unit", "direct", "pipe", "gateway", "of direct", "of pipe"]));
  for (const { what, unit, values } of rows) {
    // For times less is better: the ratio is turned round, so that it always says "how fast, compared".
    const ratio = (base: number): string =>
      (unit === "ms" ? base / values.gateway : values.gateway / base).toFixed(2);
    const shown = [values.direct, values.pipe, values.gateway].map((value) =>
      value.toFixed(value < 1000 ? 1 : 0),
    );
    console.log(line([what, unit, ...shown, ratio(values.direct), ratio(values.pipe)]));
  }
  if (idle === undefined) return;
  console.log(
    `idle sessions: ${(idle.bytesPerSession / 1024).toFixed(1)} KiB of workerd's memory each, with ${idle.sessions} of them`,
  );
}

const { values } = parseArgs({
  options: { quick: { type: "boolean" }, json: { type: "boolean" }, only: { type: "string" } },
});
const quick = values.quick ?? false;
const measured = (what: "postgres" | "ssh"): boolean => values.only === undefined || values.only === what;
const directory = await mkdtemp(join(tmpdir(), "sallyport-bench-"));
const stops: (() => Promise<void>)[] = [() => rm(directory, { recursive: true, force: true })];
try {
  const system = await startSystem({
    directory: join(directory, "system"),
    databases: [BENCH_DATABASE],
    configuration,
    postgresSettings: { max_connections: "1200" },
    resources: (postgres, passwordFile) => ({
      [BENCH_RESOURCE]: {
        protocol: "postgres",
        address: `127.0.0.1:${postgres.port}`,
        database: BENCH_DATABASE,
        user: "sallyport",
        password: `file:${passwordFile}`,
      },
    }),
    onProgress: (step) => process.stderr.write(`bench: ${step}\n`),
  });
  stops.push(() => system.stop());
  const rows: Row[] = [];
  let idle: { readonly sessions: number; readonly bytesPerSession: number } | undefined;
  if (measured("ssh")) rows.push(...(await compareSsh(system, directory, quick)));
  if (measured("postgres")) {
    const ways: Way[] = [directWay(system)];
    for (const open of [pipeWay, gatewayWay]) {
      const way = await open(system, directory);
      stops.push(() => way.stop());
      ways.push(way);
    }
    rows.push(...(await compare(system, ways, quick)));
    const gateway = ways.at(-1);
    const sessions = quick ? 100 : 1000;
    process.stderr.write(`bench: ${sessions} idle sessions\n`);
    if (gateway !== undefined)
      idle = { sessions, bytesPerSession: await idleMemory(gateway, system.gateway.workerd, sessions) };
  }
  if (values.json ?? false) console.log(JSON.stringify({ rows, idle }));
  else print(rows, idle);
} finally {
  for (const stop of stops.toReversed()) await stop();
}

/** What is measured over a way, in units that do not depend on which way it is. */
import { execFile } from "node:child_process";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import type { Way } from "./ways.ts";

const run = promisify(execFile);

/** pgbench on the PATH or beside a server of the distribution's. */
export function findPgbench(): string | undefined {
  const directories = (process.env["PATH"] ?? "").split(":");
  const versions = existsSync("/usr/lib/postgresql")
    ? readdirSync("/usr/lib/postgresql").toSorted().toReversed()
    : [];
  directories.push(...versions.map((version) => `/usr/lib/postgresql/${version}/bin`));
  return directories.map((directory) => join(directory, "pgbench")).find((file) => existsSync(file));
}

function environment({ port, user, password, database }: Way): NodeJS.ProcessEnv {
  return {
    ...process.env,
    PGHOST: "127.0.0.1",
    PGPORT: String(port),
    PGUSER: user,
    PGDATABASE: database,
    PGSSLMODE: "disable",
    ...(password === undefined ? {} : { PGPASSWORD: password }),
  };
}

export async function initialise(pgbench: string, way: Way, scale: number): Promise<void> {
  await run(pgbench, ["-i", "-q", "-s", String(scale)], { env: environment(way) });
}

/** Transactions a second of `pgbench -S`. */
export async function selectRate(
  pgbench: string,
  way: Way,
  { clients, seconds, prepared }: { clients: number; seconds: number; prepared: boolean },
): Promise<number> {
  const mode = prepared ? "prepared" : "simple";
  const args = ["-n", "-S", "-M", mode, "-c", String(clients), "-j", "1", "-T", String(seconds)];
  const { stdout } = await run(pgbench, args, { env: environment(way) });
  const rate = /tps = ([\d.]+)/.exec(stdout)?.[1];
  if (rate === undefined) throw new Error(`pgbench over ${way.name} reported no rate:\n${stdout}`);
  return Number(rate);
}

export function connectTo({ port, user, password, database }: Way): pg.Client {
  return new pg.Client({
    host: "127.0.0.1",
    port,
    user,
    database,
    ...(password === undefined ? {} : { password }),
  });
}

/** Milliseconds for a SELECT of 100,000 rows, the fastest of three. */
export async function bigSelect(way: Way): Promise<number> {
  const client = connectTo(way);
  await client.connect();
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 3; i++) {
    const started = performance.now();
    const { rowCount } = await client.query(
      "SELECT aid, bid, abalance, filler FROM pgbench_accounts WHERE aid <= 100000",
    );
    if (rowCount !== 100_000) throw new Error(`${way.name} returned ${rowCount} rows`);
    best = Math.min(best, performance.now() - started);
  }
  await client.end();
  return best;
}

/** Sessions opened, used for one statement and closed, a second, eight at a time. */
export async function openRate(way: Way, sessions: number): Promise<number> {
  const started = performance.now();
  let left = sessions;
  const worker = async (): Promise<void> => {
    while (left-- > 0) {
      const client = connectTo(way);
      await client.connect();
      await client.query("SELECT 1");
      await client.end();
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  return (sessions / (performance.now() - started)) * 1000;
}

/** Resident memory of processes, in bytes (Linux). */
function residentBytes(pids: readonly number[]): number {
  let total = 0;
  for (const pid of pids) {
    const kib = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    total += Number(kib ?? 0) * 1024;
  }
  return total;
}

/** Bytes by which workerd has grown for each of `sessions` sessions that are open and idle. */
export async function idleMemory(way: Way, workerd: readonly number[], sessions: number): Promise<number> {
  const before = residentBytes(workerd);
  const clients: pg.Client[] = [];
  for (let i = 0; i < sessions; i += 8) {
    const batch = Array.from({ length: Math.min(8, sessions - i) }, () => connectTo(way));
    await Promise.all(batch.map((client) => client.connect()));
    clients.push(...batch);
  }
  // What opening left behind is collected, and what can be put down is.
  await new Promise((resolve) => setTimeout(resolve, 12_000));
  const after = residentBytes(workerd);
  await Promise.all(clients.map((client) => client.end()));
  return (after - before) / sessions;
}

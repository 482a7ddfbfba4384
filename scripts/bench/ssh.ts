/**
 * SSH three ways, with the same client, cipher and server: directly, through the bare pipe, and through the
 * gateway, which decrypts, decides, records and encrypts again. The pipe copies bytes that it cannot read, so
 * what the gateway does beside it is two further SSH connections' worth of work.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createReadStream } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { runSally } from "../lib/sally.ts";
import type { System } from "../lib/system.ts";
import { type Row, openPipe } from "./ways.ts";

type SshWay = {
  readonly name: keyof Row["values"];
  readonly args: readonly string[];
  readonly environment: NodeJS.ProcessEnv;
};

const TRANSFER_BYTES = 400e6;
const QUICK_BYTES = 100e6;
/** One that all three offer; OpenSSH alone would choose another. */
const CIPHER = ["-c", "aes128-gcm@openssh.com"];

/** Rows of the comparison: throughput in MB/s, times in ms. */
export async function compareSsh(system: System, directory: string, quick: boolean): Promise<Row[]> {
  const folder = join(directory, "ssh-bench");
  await mkdir(folder, { mode: 0o700 });
  const { port, user, keyFile, hostKey } = system.ssh;
  const pipe = await openPipe(folder, port);
  try {
    const ways = [
      await plainWay("direct", folder, { port, user, keyFile, hostKey }),
      await plainWay("pipe", folder, { port: pipe.port, user, keyFile, hostKey }),
      await gatewayWay(system, folder),
    ];
    return await measureAll(ways, folder, quick);
  } finally {
    await pipe.stop();
  }
}

async function measureAll(ways: readonly SshWay[], folder: string, quick: boolean): Promise<Row[]> {
  const bytes = quick ? QUICK_BYTES : TRANSFER_BYTES;
  const rounds = quick ? 5 : 15;
  const rows: Row[] = [];
  const measure = async (
    what: string,
    unit: string,
    one: (way: SshWay) => Promise<number>,
  ): Promise<void> => {
    const values: Partial<Row["values"]> = {};
    for (const way of ways) {
      process.stderr.write(`bench: ${what}, ${way.name}\n`);
      values[way.name] = await one(way);
    }
    rows.push({ what, unit, values: values as Row["values"] });
  };
  const size = `${bytes / 1e6} MB`;
  await measure(`ssh: ${size} up`, "MB/s", (way) => best(2, () => upload(way, bytes)));
  await measure(`ssh: ${size} down`, "MB/s", (way) => best(2, () => download(way, bytes)));
  await measure("ssh true", "ms", (way) => median(rounds, () => once(way, ["-S", "none"])));
  await measure("ssh true over a master", "ms", (way) =>
    withMaster(way, folder, (master) => median(rounds * 2, () => once(way, master))),
  );
  await measure("ssh: keystroke to its echo", "ms", (way) => echo(way, quick ? 100 : 400));
  return rows;
}

/** A way that ssh finds by an address, with the key that the connector has. */
async function plainWay(
  name: "direct" | "pipe",
  folder: string,
  server: {
    readonly port: number;
    readonly user: string;
    readonly keyFile: string;
    readonly hostKey: string;
  },
): Promise<SshWay> {
  const knownHosts = join(folder, `known_hosts_${name}`);
  await writeFile(knownHosts, `[127.0.0.1]:${server.port} ${server.hostKey}\n`);
  const options = [
    `UserKnownHostsFile=${knownHosts}`,
    `IdentityFile=${server.keyFile}`,
    "IdentitiesOnly=yes",
    "BatchMode=yes",
  ].flatMap((option) => ["-o", option]);
  const args = ["-F", "none", ...CIPHER, ...options, "-p", String(server.port), `${server.user}@127.0.0.1`];
  return { name, args, environment: process.env };
}

/** As a reviewer, whom the demo's policy lets run what they like. */
async function gatewayWay(system: System, folder: string): Promise<SshWay> {
  const tokenFile = system.tokenFile("reviewer-a");
  const printed = await runSally(["ssh-config"], {
    gateway: system.gateway.url,
    tokenFile,
    configHome: join(folder, "config-home"),
  });
  if (printed.code !== 0) throw new Error(printed.stderr);
  const config = join(folder, "config");
  await writeFile(config, printed.stdout);
  await system.waitUntilOnline("web-1");
  return {
    name: "gateway",
    args: ["-F", config, ...CIPHER, "web-1"],
    environment: { ...process.env, SALLY_TOKEN_FILE: tokenFile },
  };
}

function start(way: SshWay, options: readonly string[], command: readonly string[]): ChildProcess {
  return spawn("ssh", [...options, ...way.args, ...command], {
    env: way.environment,
    stdio: ["pipe", "pipe", "inherit"],
  });
}

async function ended(child: ChildProcess, way: SshWay): Promise<void> {
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  if (code !== 0) throw new Error(`ssh over ${way.name} ended with ${code}`);
}

/** MB a second, from the first byte's start to the server's last word, so that what is under way counts. */
async function upload(way: SshWay, bytes: number): Promise<number> {
  const child = start(way, ["-S", "none"], ["cat > /dev/null"]);
  const over = ended(child, way);
  const started = performance.now();
  if (child.stdin !== null)
    createReadStream("/dev/zero", { end: bytes - 1, highWaterMark: 1 << 20 }).pipe(child.stdin);
  await over;
  return bytes / 1e3 / (performance.now() - started);
}

async function download(way: SshWay, bytes: number): Promise<number> {
  const child = start(way, ["-S", "none"], [`head -c ${bytes} /dev/zero`]);
  child.stdin?.end();
  let received = 0;
  child.stdout?.on("data", (chunk: Buffer) => (received += chunk.length));
  const started = performance.now();
  await ended(child, way);
  if (received !== bytes) throw new Error(`${received} bytes came over ${way.name} in place of ${bytes}`);
  return bytes / 1e3 / (performance.now() - started);
}

async function once(way: SshWay, options: readonly string[]): Promise<number> {
  const started = performance.now();
  const child = start(way, options, ["true"]);
  child.stdin?.end();
  child.stdout?.resume();
  await ended(child, way);
  return performance.now() - started;
}

async function withMaster(
  way: SshWay,
  folder: string,
  work: (options: readonly string[]) => Promise<number>,
): Promise<number> {
  const control = ["-S", join(folder, `m-${way.name}`)];
  const master = start(way, [...control, "-M"], ["echo ready; cat"]);
  await new Promise((resolve) => master.stdout?.once("data", resolve));
  try {
    return await work(control);
  } finally {
    master.stdin?.end();
    await ended(master, way);
  }
}

/** Median time of one byte there and back through a terminal. */
async function echo(way: SshWay, keystrokes: number): Promise<number> {
  const child = start(way, ["-S", "none", "-tt"], ["stty raw -echo; echo ready; exec cat"]);
  const over = new Promise((resolve) => child.once("close", resolve));
  const next = (): Promise<Buffer> => new Promise((resolve) => child.stdout?.once("data", resolve));
  while (!(await next()).includes("ready"));
  const times: number[] = [];
  for (let i = 0; i < keystrokes; i++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    const started = performance.now();
    const answer = next();
    child.stdin?.write("x");
    await answer;
    times.push(performance.now() - started);
  }
  child.kill();
  await over;
  return middle(times);
}

async function best(times: number, one: () => Promise<number>): Promise<number> {
  let most = 0;
  for (let i = 0; i < times; i++) most = Math.max(most, await one());
  return most;
}

async function median(times: number, one: () => Promise<number>): Promise<number> {
  const all: number[] = [];
  for (let i = 0; i < times; i++) all.push(await one());
  return middle(all);
}

function middle(times: readonly number[]): number {
  return times.toSorted((one, other) => one - other)[Math.floor(times.length / 2)] ?? Number.NaN;
}

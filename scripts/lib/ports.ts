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

/**
 * Ports by name, remembered in `file`. A remembered port that somebody else took since is replaced by another
 * one and its name is listed in `moved`.
 */
export async function keptPorts<const Name extends string>(
  file: string,
  names: readonly Name[],
): Promise<{ ports: Record<Name, number>; moved: { name: Name; from: number; to: number }[] }> {
  const remembered = await readRemembered(file);
  const ports: Record<string, number> = {};
  const moved: { name: Name; from: number; to: number }[] = [];
  const taken = new Set<number>();
  for (const name of names) {
    const wanted = remembered[name];
    if (wanted !== undefined && !taken.has(wanted) && (await isPortFree(wanted))) {
      ports[name] = wanted;
    } else {
      let port = await freePort();
      while (taken.has(port)) port = await freePort();
      ports[name] = port;
      if (wanted !== undefined) moved.push({ name, from: wanted, to: port });
    }
    taken.add(ports[name]);
  }
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, `${JSON.stringify(ports, null, 2)}\n`);
  return { ports, moved };
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

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { type Server, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { freePort, isPortFree, keptPorts, rememberPorts } from "../../../scripts/lib/ports.ts";

let directory: string;
let file: string;
const servers: Server[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "sallyport-ports-"));
  file = join(directory, "ports.json");
});

afterEach(async () => {
  for (const server of servers.splice(0)) server.close();
  await rm(directory, { recursive: true });
});

function occupy(port: number): Promise<void> {
  const server = createServer();
  servers.push(server);
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
}

describe("kept ports", () => {
  it("are the same at the next start", async () => {
    const first = await keptPorts(file, ["a", "b"]);
    await rememberPorts(file, first.ports);
    expect(await keptPorts(file, ["a", "b"])).toEqual({ ports: first.ports, moved: [] });
  });

  it("move when somebody else has taken one, and say so", async () => {
    const { ports } = await keptPorts(file, ["a", "b"]);
    await rememberPorts(file, ports);
    await occupy(ports.a);
    const again = await keptPorts(file, ["a", "b"]);
    expect(again.ports.b).toBe(ports.b);
    expect(again.moved).toEqual([{ name: "a", from: ports.a, to: again.ports.a }]);
    expect(await isPortFree(again.ports.a)).toBe(true);
  });

  it("are never the same for two names", async () => {
    const port = await freePort();
    await rememberPorts(file, { a: port, b: port });
    const { ports } = await keptPorts(file, ["a", "b"]);
    expect(ports.a).not.toBe(ports.b);
  });

  it.each(["", "[]", '{"a": "x", "b": 99999}', "null"])("start anew when the file holds %j", async (text) => {
    await writeFile(file, text);
    const { ports, moved } = await keptPorts(file, ["a", "b"]);
    expect(Object.keys(ports)).toEqual(["a", "b"]);
    expect(moved).toEqual([]);
  });
});

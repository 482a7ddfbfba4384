/**
 * Plays the Session object and the connector around a PostgresMachine over TCP: logs in to a server that trusts
 * everybody, answers asks with `decide`, and stops reading one side while the other has not drained.
 */
import { randomBytes } from "node:crypto";
import { type Socket, connect, createServer } from "node:net";
import {
  type Ask,
  type Effect,
  type Input,
  OPEN_GUARD,
  type Verdict,
} from "../../../../wire/postgres/machine-types.ts";
import {
  type PostgresState,
  newPostgresState,
  parkedBytes,
  step,
} from "../../../../wire/postgres/machine.ts";

export type Decide = (ask: Ask) => Verdict | Promise<Verdict>;

export type BridgeOptions = {
  readonly upstreamPort: number;
  readonly decide?: Decide;
  /** Sees every effect of every session, before it is carried out. */
  readonly watch?: (effect: Effect) => void;
  /** Bytes given to the machine at once. */
  readonly chunk?: number;
};

export type Bridge = {
  readonly port: number;
  /** Largest amounts seen in any session: bytes parked, bytes queued towards a side. */
  readonly peaks: { parked: number };
  readonly sessions: Set<BridgeSession>;
  close(): Promise<void>;
};

export type BridgeSession = { readonly state: PostgresState; input(input: Input): void };

export const forwardAll: Decide = (ask) => ({ id: ask.id, effect: "forward", guard: OPEN_GUARD });

export async function startBridge(options: BridgeOptions): Promise<Bridge> {
  const sessions = new Set<BridgeSession>();
  const keys = new Map<number, { port: number; pid: number; key: Uint8Array }>();
  const peaks = { parked: 0 };
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (client) => {
    sockets.add(client);
    client.once("close", () => sockets.delete(client));
    runSession(client, options, sessions, keys, peaks);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    port: address.port,
    peaks,
    sessions,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

type Keys = Map<number, { port: number; pid: number; key: Uint8Array }>;

function runSession(
  client: Socket,
  options: BridgeOptions,
  sessions: Set<BridgeSession>,
  keys: Keys,
  peaks: { parked: number },
): void {
  const state = newPostgresState();
  const decide = options.decide ?? forwardAll;
  let upstream: Socket | undefined;
  const session: BridgeSession = { state, input };
  sessions.add(session);

  function input(first: Input): void {
    const inputs: Input[] = [first];
    for (let next = inputs.shift(); next !== undefined; next = inputs.shift()) {
      for (const effect of step(state, next)) {
        options.watch?.(effect);
        carryOut(effect, inputs);
      }
    }
    const parked = parkedBytes(state);
    peaks.parked = Math.max(peaks.parked, parked);
    if (parked > 1 << 20) client.pause();
    else if (upstream === undefined || !upstream.writableNeedDrain) client.resume();
  }

  function carryOut(effect: Effect, inputs: Input[]): void {
    switch (effect.kind) {
      case "toClient":
      case "rows":
        if (!client.write(effect.bytes)) upstream?.pause();
        return;
      case "toServer":
        if (upstream?.write(effect.bytes) === false) client.pause();
        return;
      case "open":
        upstream = openUpstream(effect.user, effect.database, effect.parameters);
        return;
      case "cancelRequest": {
        const target = keys.get(effect.processId);
        if (target === undefined) return;
        const socket = connect(target.port, "127.0.0.1");
        socket.on("error", () => undefined);
        const packet = Buffer.concat([Buffer.alloc(12), target.key]);
        packet.writeUInt32BE(packet.length, 0);
        packet.writeUInt32BE(80877102, 4);
        packet.writeUInt32BE(target.pid >>> 0, 8);
        socket.end(packet);
        return;
      }
      case "ask": {
        const verdict = decide(effect.ask);
        if (verdict instanceof Promise)
          void verdict.then((made) => input({ kind: "verdict", verdict: made }));
        else inputs.push({ kind: "verdict", verdict });
        return;
      }
      case "end":
        client.end();
        upstream?.end();
        sessions.delete(session);
        return;
      default:
        // The rest are reports.
        return;
    }
  }

  function openUpstream(
    user: string,
    database: string,
    parameters: Readonly<Record<string, string>>,
  ): Socket {
    const socket = connect({ port: options.upstreamPort, host: "127.0.0.1", noDelay: true });
    const pairs = Object.entries({ user, database, ...parameters }).flat();
    const body = Buffer.from(`${pairs.map((word) => `${word}\0`).join("")}\0`);
    const packet = Buffer.concat([Buffer.alloc(8), body]);
    packet.writeUInt32BE(packet.length, 0);
    packet.writeUInt32BE(3 << 16, 4);
    socket.write(packet);
    let greeting: Buffer | undefined = Buffer.alloc(0);
    const reported: [string, string][] = [];
    let upstreamKey: { pid: number; key: Uint8Array } = { pid: 0, key: Buffer.alloc(4) };
    socket.on("data", (bytes: Buffer) => {
      if (greeting === undefined) {
        for (let at = 0; at < bytes.length; at += options.chunk ?? bytes.length) {
          input({ kind: "serverBytes", bytes: bytes.subarray(at, at + (options.chunk ?? bytes.length)) });
        }
        return;
      }
      greeting = Buffer.concat([greeting, bytes]);
      while (
        greeting !== undefined &&
        greeting.length >= 5 &&
        greeting.length >= 1 + greeting.readUInt32BE(1)
      ) {
        const end = 1 + greeting.readUInt32BE(1);
        const type = String.fromCharCode(greeting[0] ?? 0);
        const content = greeting.subarray(5, end);
        greeting = greeting.subarray(end);
        if (type === "S") reported.push(content.toString().split("\0").slice(0, 2) as [string, string]);
        else if (type === "K") upstreamKey = { pid: content.readInt32BE(0), key: content.subarray(4) };
        else if (type === "E") {
          const message = /\0M([^\0]*)\0/.exec(content.toString())?.[1] ?? "?";
          input({ kind: "openFailed", refusal: { code: "upstream_login_failed", message } });
        } else if (type === "Z") {
          const processId = randomBytes(4).readUInt32BE();
          keys.set(processId, { port: options.upstreamPort, ...upstreamKey });
          const rest: Buffer = greeting;
          greeting = undefined;
          input({ kind: "opened", parameters: reported, processId, secretKey: randomBytes(32) });
          if (rest.length > 0) input({ kind: "serverBytes", bytes: rest });
        }
      }
    });
    socket.on("drain", () => client.resume());
    socket.on("close", () => input({ kind: "serverEnded" }));
    socket.on("error", () => undefined);
    return socket;
  }

  client.on("data", (bytes: Buffer) => {
    for (let at = 0; at < bytes.length; at += options.chunk ?? bytes.length) {
      input({ kind: "clientBytes", bytes: bytes.subarray(at, at + (options.chunk ?? bytes.length)) });
    }
  });
  client.on("drain", () => upstream?.resume());
  client.on("error", () => undefined);
  client.on("close", () => input({ kind: "clientEnded" }));
}

/** Two ends of a real WebSocket on the loopback: a gateway's end and a connector's. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";
import { type TunnelOptions, TunnelSocket } from "../../../connectors/lib/tunnel-socket.ts";
import { dial } from "../../../connectors/lib/web-socket.ts";
import { LIMITS } from "../../../wire/limits.ts";

export type Pair = {
  readonly gateway: TunnelSocket;
  readonly connector: TunnelSocket;
  readonly gatewaySocket: WebSocket;
  readonly connectorSocket: WebSocket;
  end(): Promise<void>;
};

export async function rawPair(): Promise<{
  accepted: WebSocket;
  dialled: WebSocket;
  end: () => Promise<void>;
}> {
  const server = new WebSocketServer({
    port: 0,
    host: "127.0.0.1",
    maxPayload: LIMITS.tunnel.frame,
    perMessageDeflate: false,
  });
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const accepting = once(server, "connection") as Promise<[WebSocket]>;
  const dialled = await dial(`ws://127.0.0.1:${port}/`);
  if (!dialled.ok) throw new Error(dialled.error.message);
  const [accepted] = await accepting;
  const end = async () => {
    accepted.terminate();
    dialled.value.terminate();
    await new Promise((resolve) => server.close(resolve));
  };
  return { accepted, dialled: dialled.value, end };
}

export async function pair(gateway: TunnelOptions = {}, connector: TunnelOptions = {}): Promise<Pair> {
  const { accepted, dialled, end } = await rawPair();
  return {
    gateway: new TunnelSocket(accepted, { side: "gateway", ...gateway }),
    connector: new TunnelSocket(dialled, connector),
    gatewaySocket: accepted,
    connectorSocket: dialled,
    end,
  };
}

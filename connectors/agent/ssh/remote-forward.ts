/**
 * Ports that the server listens on for the client (`ssh -R`). Each is a channel that the gateway has opened and
 * that carries nothing; each connection on it is a channel that we open to the gateway, which names the first.
 *
 *   OPEN remoteForward ──► tcpip-forward ──► OPENED { port }     CLOSE ──► cancel-tcpip-forward
 *   forwarded-tcpip ──► OPEN forwarded ──► OPENED ──► confirmed, joined     CLOSE ──► refused
 */
import { type Result, err, ok } from "../../../wire/result.ts";
import { encodeTcpipForward } from "../../../wire/ssh/messages.ts";
import type { SshForwarded } from "../../../wire/ssh/open.ts";
import { Reader } from "../../../wire/ssh/reader.ts";
import type { CloseReason, TunnelChannel } from "../../lib/tunnel-socket.ts";
import type { Forwarded, SshClient } from "./client.ts";

/** A connection on a remote forward, offered to the gateway; `accept` it there, or it is refused to the server. */
export type Connection = { readonly payload: SshForwarded; readonly forwarded: Forwarded };

type Listener = {
  readonly host: string;
  port: number;
  readonly channel: TunnelChannel;
  readonly connected: (connection: Forwarded) => void;
};

/** The remote forwards of one connection to a server. */
export class RemoteForwards {
  readonly #listeners = new Set<Listener>();

  /** The server offers a connection: only on a port that was asked for. */
  take(forwarded: Forwarded): void {
    const onPort = [...this.#listeners].filter(({ port }) => port === forwarded.port);
    // RFC 4254 section 7.2 leaves open whether the address is the one asked for or the one that was reached.
    const listener =
      onPort.find(({ host }) => host === forwarded.host) ?? (onPort.length === 1 ? onPort[0] : undefined);
    if (listener === undefined) forwarded.refuse();
    else listener.connected(forwarded);
  }

  /** The connection to the server is gone, and its ports with it. */
  lost(reason: CloseReason): void {
    for (const { channel } of this.#listeners) channel.close(reason);
  }

  /** Has the server listen until the gateway closes `channel`. */
  async listen(
    client: SshClient,
    address: { readonly host: string; readonly port: number },
    channel: TunnelChannel,
    connected: (connection: Connection) => void,
  ): Promise<Result<void, string>> {
    const listener: Listener = {
      ...address,
      channel,
      connected: (forwarded) => {
        const { originHost, originPort } = forwarded;
        const payload = {
          protocol: "ssh",
          kind: "forwarded",
          forward: channel.number,
          originHost,
          originPort,
        } as const;
        connected({ payload, forwarded });
      },
    };
    this.#listeners.add(listener);
    const answer = await client.request("tcpip-forward", encodeTcpipForward(address.host, address.port));
    const chosen = address.port === 0;
    const port = answer === undefined ? undefined : chosen ? new Reader(answer).uint32() : address.port;
    if (port === undefined || port === 0 || port > 65_535) {
      this.#listeners.delete(listener);
      return err("the server refused to listen");
    }
    listener.port = port;
    const stop = (): void => {
      if (!this.#listeners.delete(listener)) return;
      void client.request("cancel-tcpip-forward", encodeTcpipForward(address.host, port));
    };
    channel.once("close", stop);
    if (channel.destroyed) {
      stop();
      return ok(undefined);
    }
    // Nothing comes on it, but its end is only seen by who reads.
    channel.resume();
    channel.listen({ onRemoteClose: stop });
    channel.accept(chosen ? { port } : {});
    return ok(undefined);
  }
}

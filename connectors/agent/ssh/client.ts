/**
 * A connection to an SSH server: transport, login, and channels (RFC 4254) with the windows respected in both
 * directions. What a server may ask of a client is refused, except connections on a remote forward of ours.
 */
import type { Duplex } from "node:stream";
import { LIMITS } from "../../../wire/limits.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import {
  type SshMessage,
  type TcpipChannel,
  OpenFailure,
  decodeMessage,
  decodeTcpipChannel,
  encodeMessage,
} from "../../../wire/ssh/messages.ts";
import { Authentication, type Proof } from "./authentication.ts";
import { type ChannelEvents, ServerChannel } from "./channel.ts";
import { ClientTransport } from "./transport.ts";

export type ClientFailure = {
  readonly step: "host_key" | "transport" | "login";
  /** For the connector's log. */
  readonly detail: string;
};

export type ClientOptions = {
  readonly stream: Duplex;
  readonly user: string;
  readonly verifyHostKey: (blob: Uint8Array) => boolean;
  readonly hostKeyAlgorithms: readonly string[];
  /** Called when the server's host key is verified. */
  readonly proof: () => Proof;
  readonly signal: AbortSignal;
  /** The connection is gone; all channels have been told. */
  readonly onLost: (why: string) => void;
  /** A connection on a remote forward; call `accept` or `refuse`. */
  readonly onForwarded?: (forwarded: Forwarded) => void;
};

export type Forwarded = TcpipChannel & {
  readonly accept: (events: ChannelEvents) => ServerChannel;
  readonly refuse: () => void;
};

const KEEP_ALIVE = 30_000;
const KEEP_ALIVE_MISSED = 3;

export class SshClient {
  readonly #transport: ClientTransport;
  readonly #channels = new Map<number, ServerChannel>();
  readonly #opening = new Map<number, (result: Result<ServerChannel, string>) => void>();
  /** Replies to global requests come in order and name nothing. */
  readonly #globalReplies: ((data: Uint8Array | undefined) => void)[] = [];
  readonly #onLost: (why: string) => void;
  readonly #onForwarded: ClientOptions["onForwarded"];
  #next = 0;
  #authentication: Authentication | undefined;
  #settled: ((result: Result<SshClient, ClientFailure>) => void) | undefined;
  #keepAlive: NodeJS.Timeout | undefined;
  #lost = false;

  /** Connects over `stream`, which the client owns from now on. */
  static connect(options: ClientOptions): Promise<Result<SshClient, ClientFailure>> {
    return new Promise((resolve) => {
      // The signal is for connecting and logging in; what comes after it ends in its own way.
      const client = new SshClient(options, (result) => {
        options.signal.removeEventListener("abort", abort);
        resolve(result);
      });
      const abort = (): void => client.#end({ step: "transport", detail: "given up" });
      if (options.signal.aborted) abort();
      else options.signal.addEventListener("abort", abort, { once: true });
    });
  }

  private constructor(options: ClientOptions, settled: (result: Result<SshClient, ClientFailure>) => void) {
    this.#settled = settled;
    this.#onLost = options.onLost;
    this.#onForwarded = options.onForwarded;
    this.#transport = new ClientTransport(options.stream, options.verifyHostKey, options.hostKeyAlgorithms, {
      ready: () => {
        this.#authentication = new Authentication(options.user, options.proof(), this.#transport.sessionId);
        this.send(this.#authentication.start());
      },
      payload: (payload) => this.#payload(payload),
      lost: (why) => this.#end({ step: why === "host_key" ? "host_key" : "transport", detail: why }),
    });
  }

  get lost(): boolean {
    return this.#lost;
  }

  /** True while the stream below has more to send than is good. */
  get congested(): boolean {
    return this.#transport.buffered > LIMITS.tunnel.window;
  }

  send(message: SshMessage): void {
    this.#transport.send(encodeMessage(message));
  }

  /** Opens a channel; the error is the server's own words. */
  open(type: string, data: Uint8Array, events: ChannelEvents): Promise<Result<ServerChannel, string>> {
    if (this.#lost) return Promise.resolve(err("the connection is lost"));
    const id = this.#next++;
    this.#channels.set(id, new ServerChannel(this, events, () => this.#channels.delete(id)));
    return new Promise((resolve) => {
      this.#opening.set(id, resolve);
      this.send({
        kind: "channelOpen",
        type,
        sender: id,
        window: LIMITS.ssh.window,
        maximumPacket: LIMITS.ssh.channelPacket,
        data,
      });
    });
  }

  /** A global request that wants a reply: its data, or undefined when the server refuses. */
  request(name: string, data: Uint8Array): Promise<Uint8Array | undefined> {
    if (this.#lost) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      this.#globalReplies.push(resolve);
      this.send({ kind: "globalRequest", name, wantReply: true, data });
    });
  }

  close(): void {
    this.#end({ step: "transport", detail: "closed" });
  }

  #payload(payload: Uint8Array): void {
    const decoded = decodeMessage(payload);
    if (!decoded.ok) return this.#end({ step: "transport", detail: decoded.error });
    const message = decoded.value;
    switch (message.kind) {
      case "ignore":
      case "debug":
      case "unimplemented":
      case "extInfo":
      case "userauthBanner":
        return;
      case "disconnect":
        return this.#end({
          step: this.#settled === undefined ? "transport" : "login",
          detail: message.description,
        });
      default:
        if (this.#settled !== undefined) this.#authenticate(message);
        else this.#connected(message);
    }
  }

  #authenticate(message: SshMessage): void {
    const step = this.#authentication?.take(message) ?? {
      kind: "failed" as const,
      why: "message before key exchange",
    };
    switch (step.kind) {
      case "send":
        return this.send(step.message);
      case "failed":
        return this.#end({ step: "login", detail: step.why });
      case "done": {
        const settled = this.#settled;
        this.#settled = undefined;
        this.#authentication = undefined;
        this.#keepAlive = setInterval(() => this.#ping(), KEEP_ALIVE).unref();
        settled?.(ok(this));
      }
    }
  }

  #connected(message: SshMessage): void {
    switch (message.kind) {
      case "globalRequest":
        // hostkeys-00, keep-alives and whatever else: nothing of a server's changes us.
        if (message.wantReply) this.send({ kind: "requestFailure" });
        return;
      case "requestSuccess":
      case "requestFailure": {
        const reply = this.#globalReplies.shift();
        if (reply === undefined) return this.#end({ step: "transport", detail: "reply to no request" });
        return reply(message.kind === "requestSuccess" ? message.data.slice() : undefined);
      }
      case "channelOpen":
        return this.#forwarded(message);
      case "channelOpenConfirmation":
      case "channelOpenFailure": {
        const opened = this.#opening.get(message.recipient);
        const channel = this.#channels.get(message.recipient);
        this.#opening.delete(message.recipient);
        if (opened === undefined || channel === undefined)
          return this.#end({ step: "transport", detail: "answer to no channel" });
        if (message.kind === "channelOpenFailure") {
          this.#channels.delete(message.recipient);
          return opened(err(message.description));
        }
        channel.opened(message.sender, message.window, message.maximumPacket);
        return opened(ok(channel));
      }
      case "channelWindowAdjust":
      case "channelData":
      case "channelExtendedData":
      case "channelEof":
      case "channelClose":
      case "channelRequest":
      case "channelSuccess":
      case "channelFailure": {
        const channel = this.#channels.get(message.recipient);
        if (channel === undefined || this.#opening.has(message.recipient)) {
          return this.#end({ step: "transport", detail: "message for no channel" });
        }
        const broken = channel.take(message);
        if (broken !== undefined) this.#end({ step: "transport", detail: broken });
        return;
      }
      default:
        this.#end({ step: "transport", detail: `unexpected ${message.kind}` });
    }
  }

  #forwarded(message: Extract<SshMessage, { kind: "channelOpen" }>): void {
    const target = message.type === "forwarded-tcpip" ? decodeTcpipChannel(message.data) : undefined;
    const refuse = (): void => {
      const reason = OpenFailure.ADMINISTRATIVELY_PROHIBITED;
      this.send({
        kind: "channelOpenFailure",
        recipient: message.sender,
        reason,
        description: "not asked for",
      });
    };
    if (target === undefined || this.#onForwarded === undefined) return refuse();
    const accept = (events: ChannelEvents): ServerChannel => {
      const id = this.#next++;
      const channel = new ServerChannel(this, events, () => this.#channels.delete(id));
      this.#channels.set(id, channel);
      channel.opened(message.sender, message.window, message.maximumPacket);
      const { window, channelPacket: maximumPacket } = LIMITS.ssh;
      this.send({
        kind: "channelOpenConfirmation",
        recipient: message.sender,
        sender: id,
        window,
        maximumPacket,
      });
      return channel;
    };
    this.#onForwarded({ ...target, accept, refuse });
  }

  #ping(): void {
    if (this.#globalReplies.length >= KEEP_ALIVE_MISSED)
      return this.#end({ step: "transport", detail: "the server does not answer" });
    void this.request("keepalive@openssh.com", new Uint8Array());
  }

  #end(failure: ClientFailure): void {
    if (this.#lost) return;
    this.#lost = true;
    clearInterval(this.#keepAlive);
    this.#transport.close();
    const settled = this.#settled;
    this.#settled = undefined;
    for (const reply of this.#globalReplies.splice(0)) reply(undefined);
    for (const opened of this.#opening.values()) opened(err("the connection is lost"));
    this.#opening.clear();
    for (const channel of this.#channels.values()) channel.gone();
    this.#channels.clear();
    if (settled === undefined) this.#onLost(failure.detail);
    else settled(err(failure));
  }
}

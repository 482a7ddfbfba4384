/**
 * SSH resources. All channels of one session of the gateway share one connection to the server, which is opened
 * with the first of them and stays a little after the last, for clients that run one command after the other.
 */
import { Writable } from "node:stream";
import { performance } from "node:perf_hooks";
import { type Result, err, ok } from "../../../wire/result.ts";
import { fromBase64 } from "../../../wire/ssh/base64.ts";
import {
  decodeExitSignal,
  decodeExitStatus,
  encodePtyRequest,
  encodeTcpipChannel,
  encodeWindowChange,
} from "../../../wire/ssh/messages.ts";
import { SshOpen, SshSignalToServer } from "../../../wire/ssh/open.ts";
import { encodeOutput } from "../../../wire/ssh/output-frame.ts";
import { string } from "../../../wire/ssh/reader.ts";
import { ChannelClosed, DONE, type TunnelChannel } from "../../lib/tunnel-socket.ts";
import { concat } from "../../../wire/bytes.ts";
import type { Log } from "../log.ts";
import type { OpenToGateway, Protocol } from "../upstream.ts";
import type { ChannelEvents, ServerChannel } from "./channel.ts";
import type { SshClient } from "./client.ts";
import { SshConfig } from "./config.ts";
import { type Connection, RemoteForwards } from "./remote-forward.ts";
import { type LoginFailure, closeReason, logIn } from "./login.ts";

/** How long a connection without channels is kept. */
const LINGER = 10_000;

const LOST = { code: "upstream_lost", message: "the connection to the server was lost" };

export const ssh: Protocol<SshConfig> = {
  name: "ssh",
  config: SshConfig,
  create: async (resource, config) => {
    const pool = new Pool(config);
    return ok({
      channels: {
        ssh: (channel, payload, log, toGateway) =>
          serve({ resource, config, pool, log, toGateway }, channel, payload),
      },
      close: () => pool.close(),
    });
  },
};

type Live = {
  readonly forwards: RemoteForwards;
  readonly client: Promise<Result<SshClient, LoginFailure>>;
  readonly abort: AbortController;
  channels: number;
  linger: NodeJS.Timeout | undefined;
};

/** A channel's share of a connection. Call `release` once, `over` when the session itself has ended. */
type Lease = {
  readonly client: Live["client"];
  readonly forwards: RemoteForwards;
  readonly release: (over: boolean) => void;
};

/** Connections by session and login name. */
class Pool {
  readonly #config: SshConfig;
  readonly #live = new Map<string, Live>();

  constructor(config: SshConfig) {
    this.#config = config;
  }

  /** The session's connection, opened where there is none yet. */
  acquire(session: string, user: string, log: Log): Lease {
    const key = JSON.stringify([session, user]);
    let live = this.#live.get(key);
    if (live === undefined) {
      live = this.#open(key, session, user, log);
      this.#live.set(key, live);
    }
    const held = live;
    held.channels += 1;
    clearTimeout(held.linger);
    const release = (over: boolean): void => {
      held.channels -= 1;
      if (held.channels > 0) return;
      if (over) this.#drop(key, held);
      else held.linger = setTimeout(() => this.#drop(key, held), LINGER).unref();
    };
    return { client: held.client, forwards: held.forwards, release };
  }

  close(): void {
    for (const [key, live] of this.#live) this.#drop(key, live);
  }

  #open(key: string, session: string, user: string, log: Log): Live {
    const abort = new AbortController();
    const started = performance.now();
    const forwards = new RemoteForwards();
    const forget = (): void => {
      if (this.#live.get(key) === live) this.#live.delete(key);
    };
    const client = logIn(this.#config, {
      user,
      session,
      signal: abort.signal,
      onForwarded: (forwarded) => forwards.take(forwarded),
      onLost: (why) => {
        log.info("upstream closed", { reason: why });
        forwards.lost(LOST);
        forget();
      },
    }).then((result) => {
      if (result.ok) log.info("upstream opened", { milliseconds: Math.round(performance.now() - started) });
      else {
        log.error("upstream not opened", { step: result.error.step, reason: result.error.detail });
        // The next channel tries again.
        forget();
      }
      return result;
    });
    const live: Live = { forwards, client, abort, channels: 0, linger: undefined };
    return live;
  }

  #drop(key: string, live: Live): void {
    clearTimeout(live.linger);
    if (this.#live.get(key) === live) this.#live.delete(key);
    live.abort.abort();
    void live.client.then((client) => client.ok && client.value.close());
  }
}

/** What serves the channels of one session. */
type Service = {
  readonly resource: string;
  readonly config: SshConfig;
  readonly pool: Pool;
  readonly log: Log;
  readonly toGateway: OpenToGateway;
};

async function serve(service: Service, channel: TunnelChannel, payload: unknown): Promise<void> {
  const { resource, config, pool, log } = service;
  const parsed = SshOpen.safeParse(payload);
  if (!parsed.success)
    return channel.close({ code: "request_invalid", message: "the request to open is malformed" });
  const { session, login, target } = parsed.data;
  const user = login ?? config.user;
  // Whatever the gateway asks: only the login names that the config lists.
  if (user !== config.user && !config.users.includes(user)) {
    log.warn("channel refused", { code: "setting_not_allowed" });
    return channel.close({
      code: "setting_not_allowed",
      message: `the connector does not log in to ${resource} as ${user}`,
    });
  }
  const lease = pool.acquire(session, user, log);
  releaseWith(channel, lease);
  const connected = await lease.client;
  if (!connected.ok) return channel.close(closeReason(resource, connected.error));
  if (channel.destroyed) return;
  const opened =
    target.kind === "remoteForward"
      ? await lease.forwards.listen(connected.value, target, channel, (connection) =>
          connect(service, connection, pool.acquire(session, user, log)),
        )
      : await open(connected.value, target, channel);
  if (!opened.ok) {
    log.warn("channel not opened", { kind: target.kind, reason: opened.error });
    if (!channel.destroyed)
      channel.close({ code: "upstream_unreachable", message: failureMessage(target.kind) });
  }
}

function releaseWith(channel: TunnelChannel, { release }: Lease): void {
  let over = false;
  channel.once("error", (error) => (over = error instanceof ChannelClosed));
  channel.once("close", () => release(over));
}

/** Offers a connection on a remote forward to the gateway, and joins the two when it is taken there. */
function connect({ log, toGateway }: Service, { payload, forwarded }: Connection, lease: Lease): void {
  let taken = false;
  const channel = toGateway(payload, () => {
    taken = true;
    if (channel !== undefined) join(channel, forwarded.accept(streamEvents(channel)), false);
  });
  if (channel === undefined) {
    log.warn("connection refused", { code: "over_limit" });
    forwarded.refuse();
    return lease.release(false);
  }
  releaseWith(channel, lease);
  channel.once("close", () => taken || forwarded.refuse());
  channel.listen({ onRemoteClose: () => channel.destroy() });
}

function failureMessage(kind: SshOpen["target"]["kind"]): string {
  switch (kind) {
    case "forward":
      return "the server could not connect there";
    case "remoteForward":
      return "the server does not listen there";
    case "exec":
    case "shell":
    case "sftp":
      return "the server did not start it";
  }
}

async function open(
  client: SshClient,
  target: Exclude<SshOpen["target"], { kind: "remoteForward" }>,
  channel: TunnelChannel,
): Promise<Result<void, string>> {
  switch (target.kind) {
    case "exec":
    case "shell":
    case "sftp":
      return openSession(client, target, channel);
    case "forward": {
      const opened = await client.open("direct-tcpip", encodeTcpipChannel(target), streamEvents(channel));
      if (!opened.ok) return opened;
      join(channel, opened.value, false);
      channel.accept({});
      return ok(undefined);
    }
  }
}

async function openSession(
  client: SshClient,
  target: Extract<SshOpen["target"], { kind: "exec" | "shell" | "sftp" }>,
  channel: TunnelChannel,
): Promise<Result<void, string>> {
  const opened = await client.open(
    "session",
    new Uint8Array(),
    programEvents(channel, target.kind !== "sftp"),
  );
  if (!opened.ok) return opened;
  const server = opened.value;
  const refused = (what: string): Result<void, string> => {
    server.close();
    return err(`the server refused ${what}`);
  };
  if (target.kind !== "sftp") {
    if (target.terminal !== undefined) {
      const modes = fromBase64(target.terminal.modes);
      if (modes === undefined) return refused("the terminal's modes");
      if (!(await server.request("pty-req", encodePtyRequest({ ...target.terminal, modes }), true)))
        return refused("a terminal");
    }
    // sshd takes those of its AcceptEnv; the answer is of no interest.
    for (const [name, value] of target.environment)
      void server.request("env", concat([string(name), string(value)]), false);
  }
  join(channel, server, target.kind !== "sftp");
  const started = await start(server, target);
  if (!started) return refused(target.kind);
  channel.accept({});
  return ok(undefined);
}

function start(
  server: ServerChannel,
  target: Extract<SshOpen["target"], { kind: "exec" | "shell" | "sftp" }>,
): Promise<boolean> {
  switch (target.kind) {
    case "exec":
      return server.request("exec", string(fromBase64(target.command) ?? new Uint8Array()), true);
    case "shell":
      return server.request("shell", new Uint8Array(), true);
    case "sftp":
      return server.request("subsystem", string("sftp"), true);
  }
}

/** Input and signals from the gateway to the server. */
function join(channel: TunnelChannel, server: ServerChannel, program: boolean): void {
  let ended = false;
  channel.listen({
    onSignal: (payload) => {
      const signal = SshSignalToServer.safeParse(payload);
      if (!signal.success) return;
      if (signal.data.type === "window")
        void server.request("window-change", encodeWindowChange(signal.data), false);
      else void server.request("signal", string(signal.data.signal), false);
    },
    onRemoteClose: () => close(),
  });
  channel.once("close", () => close());
  channel.pipe(
    new Writable({
      write: (chunk: Buffer, _encoding, written) => server.write(chunk, () => written()),
      final: (finished) => {
        server.end();
        finished();
      },
    }),
  );

  function close(): void {
    if (ended) return;
    ended = true;
    // Nobody is there any more: what still runs is told as it would be when its terminal goes.
    if (program) void server.request("signal", string("HUP"), false);
    server.close();
  }
}

/** Output of a program, then how it ended. Of a terminal or command both streams, marked; of sftp bare bytes. */
function programEvents(channel: TunnelChannel, marked: boolean): ChannelEvents {
  return {
    data: (stream, bytes, taken) => {
      if (marked) channel.write(encodeOutput(stream, bytes), () => taken());
      else if (stream === 0) channel.write(bytes, () => taken());
      else taken();
    },
    // The end comes with CLOSE: END now would end the tunnel's channel before the exit status.
    end: () => undefined,
    request: (type, data) => {
      const status = type === "exit-status" ? decodeExitStatus(data) : undefined;
      if (status !== undefined) channel.signal({ type: "exit", status });
      const signal = type === "exit-signal" ? decodeExitSignal(data) : undefined;
      if (signal !== undefined) channel.signal({ type: "exitSignal", ...signal });
    },
    closed: (orderly) => finish(channel, orderly),
  };
}

/** A forwarded connection: bare bytes, each direction ends on its own. */
function streamEvents(channel: TunnelChannel): ChannelEvents {
  return {
    data: (_stream, bytes, taken) => void channel.write(bytes, () => taken()),
    end: () => void (channel.writableEnded || channel.end()),
    request: () => undefined,
    closed: (orderly) => finish(channel, orderly),
  };
}

function finish(channel: TunnelChannel, orderly: boolean): void {
  if (channel.destroyed) return;
  if (!orderly) return channel.close(LOST);
  // After END what was written has gone or goes no more; the reason must still be that all is well.
  if (channel.writableEnded) channel.close(DONE);
  else channel.finish(DONE);
}

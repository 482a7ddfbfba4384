import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { concat, utf8 } from "../../../wire/bytes.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { refusal } from "../../../wire/refusals.ts";
import { type SshMessage, encodeMessage, encodeTcpipChannel } from "../../../wire/ssh/messages.ts";
import { reserveChannel } from "../../../wire/ssh/machine-state.ts";
import type { SshEffect } from "../../../wire/ssh/machine-types.ts";
import { string, uint32 } from "../../../wire/ssh/reader.ts";
import { Client, errorOutput, of, sent } from "./client.ts";

const NONE = new Uint8Array();
const DENIED = refusal("denied_by_policy", "the command is denied", { hint: "ask somebody" });

function connected(): Client {
  return new Client().authenticate();
}

describe("authentication", () => {
  it("takes none for the authenticated session's principal and says which login was asked for", () => {
    const client = new Client();
    expect(sent(client.send({ kind: "serviceRequest", service: "ssh-userauth" }))).toEqual([
      { kind: "serviceAccept", service: "ssh-userauth" },
    ]);
    const effects = client.send({
      kind: "userauthRequest",
      user: "deploy",
      service: "ssh-connection",
      method: "none",
      data: NONE,
    });
    expect(effects.map(({ kind }) => kind)).toEqual(["authenticated", "send"]);
    expect(of(effects, "authenticated")[0]?.user).toBe("deploy");
    expect(sent(effects)).toEqual([{ kind: "userauthSuccess" }]);
  });

  it("offers no other method", () => {
    const client = new Client();
    client.send({ kind: "serviceRequest", service: "ssh-userauth" });
    const effects = client.send({
      kind: "userauthRequest",
      user: "root",
      service: "ssh-connection",
      method: "password",
      data: concat([new Uint8Array(1), string("x")]),
    });
    expect(sent(effects)).toEqual([{ kind: "userauthFailure", methods: [], partial: false }]);
    expect(client.machine.phase).toBe("authentication");
  });

  it("ends after too many attempts", () => {
    const client = new Client();
    client.send({ kind: "serviceRequest", service: "ssh-userauth" });
    for (let i = 0; i <= LIMITS.ssh.authentications; i++) {
      client.send({
        kind: "userauthRequest",
        user: "root",
        service: "ssh-connection",
        method: "publickey",
        data: NONE,
      });
    }
    expect(client.ended?.refusal?.code).toBe("protocol_violation");
  });

  it("ends after too many packets of any kind before it", () => {
    const client = new Client();
    for (let i = 0; i <= LIMITS.ssh.packetsBeforeAuthentication; i++) client.send({ kind: "ignore" });
    expect(client.ended?.refusal?.message).toContain("too many packets");
  });

  it.each(["", "a b", "a,b", "a\nb", "../x", "-oProxyCommand", "a".repeat(200), "a;b", "é"])(
    "refuses the login name %j",
    (user) => {
      const client = new Client().authenticate(user);
      expect(client.ended?.refusal?.code).toBe("protocol_violation");
      expect(of(client.effects, "authenticated")).toEqual([]);
    },
  );

  it.each<[string, SshMessage]>([
    [
      "a channel",
      { kind: "channelOpen", type: "session", sender: 0, window: 1, maximumPacket: 1024, data: NONE },
    ],
    ["a global request", { kind: "globalRequest", name: "tcpip-forward", wantReply: true, data: NONE }],
    ["data", { kind: "channelData", recipient: 0, data: utf8("x") }],
    [
      "a request without its service",
      { kind: "userauthRequest", user: "a", service: "ssh-connection", method: "none", data: NONE },
    ],
    ["another service", { kind: "serviceRequest", service: "ssh-connection" }],
    ["an answer that only servers give", { kind: "userauthSuccess" }],
  ])("ends at %s before it", (_, message) => {
    const client = new Client();
    const effects = client.send(message);
    expect(client.ended?.refusal?.code).toBe("protocol_violation");
    expect(sent(effects).map(({ kind }) => kind)).toEqual(["disconnect"]);
    expect(client.send({ kind: "serviceRequest", service: "ssh-userauth" })).toEqual([]);
  });

  it("ignores requests after it, and takes no second service", () => {
    const client = connected();
    expect(
      client.send({
        kind: "userauthRequest",
        user: "root",
        service: "ssh-connection",
        method: "none",
        data: NONE,
      }),
    ).toEqual([]);
    expect(client.machine.user).toBe("deploy");
    client.send({ kind: "serviceRequest", service: "ssh-userauth" });
    expect(client.ended).toBeDefined();
  });
});

describe("a command", () => {
  it("is asked with its bytes, terminal and environment, and nothing is opened before the verdict", () => {
    const client = connected();
    const channel = client.session();
    client.terminal(channel);
    client.env(channel, "LC_ALL", "C.UTF-8");
    const effects = client.exec(channel, "uptime");
    expect(of(effects, "ask").map(({ ask }) => ask)).toEqual([
      {
        kind: "exec",
        id: 1,
        channel,
        command: utf8("uptime"),
        terminal: true,
        environment: [["LC_ALL", "C.UTF-8"]],
      },
    ]);
    expect(of(client.effects, "open")).toEqual([]);
    expect(sent(effects)).toEqual([]);
  });

  it("opens after the verdict, answers after the connector, and carries both ways to the exit", () => {
    const client = connected();
    const channel = client.session(7);
    client.exec(channel, "cat");
    const opened = client.input({ kind: "verdict", verdict: { id: 1, effect: "forward" } });
    expect(of(opened, "open")).toEqual([
      { kind: "open", channel, target: { kind: "exec", command: btoa("cat"), environment: [] } },
    ]);
    expect(sent(opened)).toEqual([]);
    expect(sent(client.input({ kind: "upstreamOpened", channel }))).toEqual([
      { kind: "channelSuccess", recipient: 7 },
    ]);
    const input = client.send({ kind: "channelData", recipient: channel, data: utf8("in") });
    expect(input.map(({ kind }) => kind)).toEqual(["received", "toUpstream"]);
    const output = client.output(channel, "out");
    expect(output.map(({ kind }) => kind)).toEqual(["delivered", "send"]);
    expect(sent(client.output(channel, "err", 1))).toEqual([
      { kind: "channelExtendedData", recipient: 7, type: 1, data: utf8("err") },
    ]);
    expect(of(client.send({ kind: "channelEof", recipient: channel }), "endUpstream")).toHaveLength(1);
    client.input({ kind: "upstreamSignal", channel, signal: { type: "exit", status: 3 } });
    const closing = sent(client.input({ kind: "upstreamClosed", channel, refusal: undefined }));
    expect(closing.map(({ kind }) => kind)).toEqual(["channelEof", "channelClose"]);
    const ended = client.send({ kind: "channelClose", recipient: channel });
    expect(of(ended, "ended")).toEqual([{ kind: "ended", channel, exit: { status: 3 } }]);
    expect(client.machine.channels.size).toBe(0);
  });

  it("that is refused says why on standard error and exits with 126", () => {
    const client = connected();
    const channel = client.session(7);
    client.exec(channel, "rm -rf /");
    const effects = client.input({ kind: "verdict", verdict: { id: 1, effect: "refuse", refusal: DENIED } });
    expect(sent(effects).map(({ kind }) => kind)).toEqual([
      "channelSuccess",
      "channelExtendedData",
      "channelExtendedData",
      "channelRequest",
      "channelClose",
    ]);
    expect(errorOutput(effects)).toBe("sally: the command is denied\nsally: ask somebody\n");
    expect(sent(effects)[3]).toMatchObject({ type: "exit-status", data: uint32(126) });
    expect(of(client.effects, "open")).toEqual([]);
    expect(of(client.effects, "toUpstream")).toEqual([]);
  });

  it("keeps what the client sends while it waits, within the window, and passes it on when it is opened", () => {
    const client = connected();
    const channel = client.session();
    client.exec(channel, "cat");
    client.send({ kind: "channelData", recipient: channel, data: utf8("early") });
    client.send({ kind: "channelEof", recipient: channel });
    expect(of(client.effects, "toUpstream")).toEqual([]);
    client.input({ kind: "verdict", verdict: { id: 1, effect: "forward" } });
    const effects = client.input({ kind: "upstreamOpened", channel });
    expect(effects.map(({ kind }) => kind)).toEqual(["send", "received", "toUpstream", "endUpstream"]);
    expect(of(effects, "toUpstream")[0]?.bytes).toEqual(utf8("early"));
  });

  it("whose connector cannot open it exits with 255 and the reason", () => {
    const client = connected();
    const channel = client.session();
    client.exec(channel, "uptime");
    client.input({ kind: "verdict", verdict: { id: 1, effect: "forward" } });
    const effects = client.input({
      kind: "upstreamOpenFailed",
      channel,
      refusal: refusal("upstream_unreachable", "cannot reach it"),
    });
    expect(errorOutput(effects)).toBe("sally: cannot reach it\n");
    expect(sent(effects).find(({ kind }) => kind === "channelRequest")).toMatchObject({ data: uint32(255) });
  });

  it("whose connection is lost while it runs says so, and gives 255 where no exit status had come", () => {
    const client = connected();
    const channel = client.running();
    const effects = client.input({
      kind: "upstreamClosed",
      channel,
      refusal: refusal("upstream_lost", "lost"),
    });
    expect(errorOutput(effects)).toBe("sally: lost\n");
    expect(sent(effects).map(({ kind }) => kind)).toEqual([
      "channelExtendedData",
      "channelRequest",
      "channelEof",
      "channelClose",
    ]);
  });

  it("that ends before it was said to be open is answered first, and keeps its exit status", () => {
    const client = connected();
    const channel = client.session();
    client.exec(channel, "true");
    client.input({ kind: "verdict", verdict: { id: 1, effect: "forward" } });
    client.input({ kind: "upstreamSignal", channel, signal: { type: "exit", status: 7 } });
    client.input({ kind: "upstreamClosed", channel, refusal: undefined });
    expect(sent(client.effects).slice(-4)).toMatchObject([
      { kind: "channelSuccess", recipient: 0 },
      { kind: "channelRequest", type: "exit-status", data: uint32(7) },
      { kind: "channelEof" },
      { kind: "channelClose" },
    ]);
  });

  it("can be started once", () => {
    const client = connected();
    const channel = client.running();
    expect(sent(client.exec(channel, "id"))).toEqual([{ kind: "channelFailure", recipient: 0 }]);
    expect(of(client.effects, "ask")).toHaveLength(1);
  });

  it("answers later requests after its own, in order", () => {
    const client = connected();
    const channel = client.session();
    client.exec(channel, "uptime");
    expect(sent(client.env(channel, "LANG", "C"))).toEqual([]);
    client.input({ kind: "verdict", verdict: { id: 1, effect: "forward" } });
    expect(sent(client.input({ kind: "upstreamOpened", channel })).map(({ kind }) => kind)).toEqual([
      "channelSuccess",
      "channelFailure",
    ]);
  });

  it("passes signals and sizes on, of known names only", () => {
    const client = connected();
    const channel = client.session();
    client.terminal(channel);
    client.exec(channel, "top");
    client.input({ kind: "verdict", verdict: { id: 1, effect: "forward" } });
    client.input({ kind: "upstreamOpened", channel });
    expect(of(client.request(channel, "signal", string("TERM"), false), "signalUpstream")).toHaveLength(1);
    expect(of(client.request(channel, "signal", string("STOP"), false), "signalUpstream")).toEqual([]);
    const resized = client.request(
      channel,
      "window-change",
      concat([uint32(120), uint32(40), uint32(0), uint32(0)]),
      false,
    );
    expect(of(resized, "resized")).toEqual([{ kind: "resized", channel, columns: 120, rows: 40 }]);
    expect(of(resized, "signalUpstream")[0]?.signal).toMatchObject({ type: "window", columns: 120 });
  });
});

describe("a held command", () => {
  function held(terminal: boolean): { client: Client; channel: number } {
    const client = connected();
    const channel = client.session();
    if (terminal) client.terminal(channel);
    client.exec(channel, "reboot");
    client.input({ kind: "notice", id: 1, text: "held for dba" });
    return { client, channel };
  }

  it("says so at once, and runs when it is allowed", () => {
    const { client, channel } = held(false);
    expect(errorOutput(client.effects)).toBe("sally: held for dba\n");
    client.input({ kind: "verdict", verdict: { id: 1, effect: "forward" } });
    expect(of(client.effects, "open")).toHaveLength(1);
    // The request was answered with the notice already.
    expect(sent(client.input({ kind: "upstreamOpened", channel }))).toEqual([]);
  });

  it("is given up by Ctrl-C in a terminal", () => {
    const { client, channel } = held(true);
    const effects = client.send({ kind: "channelData", recipient: channel, data: new Uint8Array([3]) });
    expect(of(effects, "withdrawn")).toEqual([{ kind: "withdrawn", id: 1 }]);
    expect(sent(effects).at(0)).toMatchObject({ type: "exit-status", data: uint32(130) });
    expect(of(client.input({ kind: "verdict", verdict: { id: 1, effect: "forward" } }), "open")).toEqual([]);
  });

  it("takes byte 3 for data where there is no terminal", () => {
    const { client, channel } = held(false);
    expect(
      of(client.send({ kind: "channelData", recipient: channel, data: new Uint8Array([3]) }), "withdrawn"),
    ).toEqual([]);
  });

  it.each<[string, (client: Client, channel: number) => void]>([
    [
      "the client closes the channel",
      (client, channel) => void client.send({ kind: "channelClose", recipient: channel }),
    ],
    [
      "the client disconnects",
      (client) => void client.send({ kind: "disconnect", reason: 11, description: "" }),
    ],
    ["the client is gone", (client) => void client.input({ kind: "clientEnded" })],
    [
      "the session is killed",
      (client) => void client.input({ kind: "terminate", refusal: refusal("session_killed", "killed") }),
    ],
    [
      "the client signals it",
      (client, channel) => void client.request(channel, "signal", string("INT"), false),
    ],
  ])("is withdrawn when %s", (_, act) => {
    const { client, channel } = held(false);
    act(client, channel);
    expect(of(client.effects, "withdrawn")).toEqual([{ kind: "withdrawn", id: 1 }]);
    expect(of(client.effects, "open")).toEqual([]);
  });
});

describe("windows and credit", () => {
  it("ends the connection when the client sends over its window", () => {
    const client = connected();
    const channel = client.running();
    const chunk = new Uint8Array(LIMITS.ssh.channelPacket);
    const chunks = LIMITS.ssh.window / LIMITS.ssh.channelPacket;
    for (let i = 0; i < chunks; i++) client.send({ kind: "channelData", recipient: channel, data: chunk });
    expect(client.ended).toBeUndefined();
    client.send({ kind: "channelData", recipient: channel, data: utf8("x") });
    expect(client.ended?.refusal?.message).toContain("window");
  });

  it("opens the window again only for what has left for the connector", () => {
    const client = connected();
    const channel = client.running();
    const chunk = new Uint8Array(LIMITS.ssh.channelPacket);
    const chunks = LIMITS.ssh.window / LIMITS.ssh.channelPacket;
    for (let i = 0; i < chunks; i++) client.send({ kind: "channelData", recipient: channel, data: chunk });
    expect(sent(client.effects).filter(({ kind }) => kind === "channelWindowAdjust")).toEqual([]);
    const effects = client.input({ kind: "upstreamSent", channel, bytes: LIMITS.ssh.window / 2 });
    expect(sent(effects)).toEqual([
      { kind: "channelWindowAdjust", recipient: 0, amount: LIMITS.ssh.window / 2 },
    ]);
  });

  it("holds output back for the client's window, in order, and its credit with it", () => {
    const client = connected();
    const channel = client.session(0, 10);
    client.exec(channel, "yes");
    client.input({ kind: "verdict", verdict: { id: 1, effect: "forward" } });
    client.input({ kind: "upstreamOpened", channel });
    const first = client.output(channel, new Uint8Array(LIMITS.tunnel.window / 2).fill(65));
    expect(of(first, "delivered")[0]?.bytes.length).toBe(10);
    expect(of(first, "consumed")).toEqual([]);
    const more = client.send({
      kind: "channelWindowAdjust",
      recipient: channel,
      amount: LIMITS.tunnel.window,
    });
    expect(of(more, "delivered").reduce((sum, { bytes }) => sum + bytes.length, 0)).toBe(
      LIMITS.tunnel.window / 2 - 10,
    );
    expect(of(more, "consumed").reduce((sum, { credit }) => sum + credit, 0)).toBeGreaterThan(
      LIMITS.tunnel.window / 2 - LIMITS.tunnel.window / 16,
    );
  });

  it("holds output back for the client's transport, and shares the room between channels", () => {
    const client = connected();
    const a = client.running(0);
    const b = client.running(1);
    client.input({ kind: "clientRoom", bytes: 0 });
    client.output(a, new Uint8Array(100_000));
    client.output(b, "b");
    expect(of(client.effects, "delivered")).toEqual([]);
    const effects = client.input({ kind: "clientRoom", bytes: 40_000 });
    expect(of(effects, "delivered").map(({ channel, bytes }) => [channel, bytes.length])).toEqual([
      [a, 32 << 10],
      [b, 1],
      [a, 40_000 - (32 << 10) - 1],
    ]);
  });

  it("never sends more than the client's largest packet", () => {
    const client = connected();
    const effects = client.send({
      kind: "channelOpen",
      type: "session",
      sender: 0,
      window: 1 << 20,
      maximumPacket: 256,
      data: NONE,
    });
    expect(sent(effects)[0]?.kind).toBe("channelOpenConfirmation");
    client.exec(1, "yes");
    client.input({ kind: "verdict", verdict: { id: 1, effect: "forward" } });
    client.input({ kind: "upstreamOpened", channel: 1 });
    expect(of(client.output(1, new Uint8Array(1000)), "delivered").map(({ bytes }) => bytes.length)).toEqual([
      256, 256, 256, 232,
    ]);
  });

  it("ends at a window over 2^32 - 1", () => {
    const client = connected();
    const channel = client.session(0, 0xffffffff);
    client.send({ kind: "channelWindowAdjust", recipient: channel, amount: 1 });
    expect(client.ended).toBeDefined();
  });
});

describe("forwards", () => {
  const target = encodeTcpipChannel({
    host: "127.0.0.1",
    port: 8080,
    originHost: "127.0.0.1",
    originPort: 1,
  });
  const open = (client: Client): ReturnType<Client["send"]> =>
    client.send({
      kind: "channelOpen",
      type: "direct-tcpip",
      sender: 3,
      window: 1000,
      maximumPacket: 1024,
      data: target,
    });

  it("are asked before anything opens, and confirmed when the connector has connected", () => {
    const client = connected();
    expect(open(client)).toEqual([
      { kind: "ask", ask: { kind: "forward", id: 1, channel: 1, host: "127.0.0.1", port: 8080 } },
    ]);
    expect(sent(client.input({ kind: "verdict", verdict: { id: 1, effect: "forward" } }))).toEqual([]);
    expect(sent(client.input({ kind: "upstreamOpened", channel: 1 }))[0]).toMatchObject({
      kind: "channelOpenConfirmation",
      recipient: 3,
      sender: 1,
    });
    client.send({ kind: "channelData", recipient: 1, data: utf8("GET /") });
    expect(of(client.effects, "toUpstream")).toHaveLength(1);
  });

  it("that are refused fail as prohibited, with the reason", () => {
    const client = connected();
    open(client);
    const effects = client.input({ kind: "verdict", verdict: { id: 1, effect: "refuse", refusal: DENIED } });
    expect(sent(effects)).toEqual([
      { kind: "channelOpenFailure", recipient: 3, reason: 1, description: "sally: the command is denied" },
    ]);
    expect(client.machine.channels.size).toBe(0);
  });

  it("take no data before they are confirmed", () => {
    const client = connected();
    open(client);
    client.send({ kind: "channelData", recipient: 1, data: utf8("x") });
    expect(client.ended).toBeDefined();
  });

  it("to Unix sockets, and channels of other types, are refused", () => {
    const client = connected();
    for (const type of [
      "direct-streamlocal@openssh.com",
      "x11",
      "auth-agent@openssh.com",
      "tun@openssh.com",
      "forwarded-tcpip",
    ]) {
      const effects = client.send({
        kind: "channelOpen",
        type,
        sender: 5,
        window: 1,
        maximumPacket: 1024,
        data: string("/run/docker.sock"),
      });
      expect(sent(effects)[0]?.kind).toBe("channelOpenFailure");
    }
    expect(of(client.effects, "ask")).toEqual([]);
  });

  it("from the server are asked, and answered in the order of the requests", () => {
    const client = connected();
    const address = concat([string("localhost"), uint32(0)]);
    const asked = client.send({
      kind: "globalRequest",
      name: "tcpip-forward",
      wantReply: true,
      data: address,
    });
    expect(of(asked, "ask")[0]?.ask).toEqual({
      kind: "remoteForward",
      id: 1,
      channel: 1,
      host: "localhost",
      port: 0,
    });
    expect(
      sent(
        client.send({ kind: "globalRequest", name: "keepalive@openssh.com", wantReply: true, data: NONE }),
      ),
    ).toEqual([]);
    client.input({ kind: "verdict", verdict: { id: 1, effect: "forward" } });
    const opened = client.input({ kind: "upstreamOpened", channel: 1, port: 4242 });
    expect(sent(opened)).toEqual([
      { kind: "requestSuccess", data: uint32(4242) },
      { kind: "requestFailure" },
    ]);
    const cancelled = client.send({
      kind: "globalRequest",
      name: "cancel-tcpip-forward",
      wantReply: true,
      data: concat([string("localhost"), uint32(4242)]),
    });
    expect(of(cancelled, "closeUpstream")).toHaveLength(1);
  });
});

describe("connections on a remote forward", () => {
  const address = concat([string("localhost"), uint32(8022)]);
  /** A client with a forward that listens, and one connection on it that the client is offered. */
  function offered(): { client: Client; connection: number; offer: SshEffect[] } {
    const client = connected();
    client.send({ kind: "globalRequest", name: "tcpip-forward", wantReply: true, data: address });
    client.input({ kind: "verdict", verdict: { id: 1, effect: "forward" } });
    client.input({ kind: "upstreamOpened", channel: 1 });
    const connection = reserveChannel(client.machine);
    const offer = client.input({
      kind: "upstreamForwarded",
      channel: connection,
      forward: 1,
      originHost: "192.0.2.7",
      originPort: 4711,
    });
    return { client, connection, offer };
  }
  const confirm = (client: Client, recipient: number): SshEffect[] =>
    client.send({
      kind: "channelOpenConfirmation",
      recipient,
      sender: 9,
      window: 1 << 20,
      maximumPacket: 32 << 10,
    });

  it("are offered by the forward's address, and carry nothing before the client has taken them", () => {
    const { client, connection, offer } = offered();
    expect(sent(offer)).toMatchObject([
      {
        kind: "channelOpen",
        type: "forwarded-tcpip",
        sender: connection,
        data: encodeTcpipChannel({
          host: "localhost",
          port: 8022,
          originHost: "192.0.2.7",
          originPort: 4711,
        }),
      },
    ]);
    expect(of(offer, "acceptForwarded")).toEqual([]);
    expect(of(confirm(client, connection), "acceptForwarded")).toEqual([
      { kind: "acceptForwarded", channel: connection },
    ]);
    const data = client.input({
      kind: "upstreamData",
      channel: connection,
      stream: 0,
      bytes: utf8("hello"),
      credit: 5,
    });
    expect(sent(data)).toEqual([{ kind: "channelData", recipient: 9, data: utf8("hello") }]);
    expect(
      of(client.send({ kind: "channelData", recipient: connection, data: utf8("x") }), "toUpstream"),
    ).toHaveLength(1);
  });

  it("that the client refuses are closed, and forgotten", () => {
    const { client, connection } = offered();
    const refused = client.send({
      kind: "channelOpenFailure",
      recipient: connection,
      reason: 2,
      description: "nothing there",
    });
    expect(of(refused, "closeUpstream")).toEqual([{ kind: "closeUpstream", channel: connection }]);
    expect(of(refused, "ended")).toHaveLength(1);
    expect(client.machine.channels.size).toBe(1);
  });

  it("that are gone when the client takes them are closed at once", () => {
    const { client, connection } = offered();
    client.input({ kind: "upstreamClosed", channel: connection, refusal: DENIED });
    const confirmed = confirm(client, connection);
    expect(of(confirmed, "acceptForwarded")).toEqual([]);
    expect(sent(confirmed)).toEqual([{ kind: "channelClose", recipient: 9 }]);
    client.send({ kind: "channelClose", recipient: connection });
    expect(client.machine.channels.size).toBe(1);
  });

  it("on a forward that is cancelled, not open, or none are closed without a word to the client", () => {
    const { client } = offered();
    client.send({ kind: "globalRequest", name: "cancel-tcpip-forward", wantReply: true, data: address });
    client.send({ kind: "globalRequest", name: "tcpip-forward", wantReply: true, data: address });
    const session = client.session();
    for (const forward of [1, 3, session, 77]) {
      const channel = reserveChannel(client.machine);
      const taken = client.input({
        kind: "upstreamForwarded",
        channel,
        forward,
        originHost: "",
        originPort: 1,
      });
      expect(sent(taken), String(forward)).toEqual([]);
      expect(of(taken, "closeUpstream"), String(forward)).toEqual([{ kind: "closeUpstream", channel }]);
    }
  });

  it("a forward that is cancelled while it is asked for fails, and holds up no later answer", () => {
    const client = connected();
    client.send({ kind: "globalRequest", name: "tcpip-forward", wantReply: true, data: address });
    const cancelled = client.send({
      kind: "globalRequest",
      name: "cancel-tcpip-forward",
      wantReply: true,
      data: address,
    });
    expect(of(cancelled, "withdrawn")).toEqual([{ kind: "withdrawn", id: 1 }]);
    expect(sent(cancelled)).toEqual([{ kind: "requestFailure" }, { kind: "requestSuccess", data: NONE }]);
  });
});

describe("what is not offered", () => {
  it("agent forwarding and X11 are refused, with a word about it", () => {
    const client = connected();
    const channel = client.session();
    expect(sent(client.request(channel, "auth-agent-req@openssh.com"))).toEqual([
      { kind: "channelFailure", recipient: 0 },
    ]);
    expect(sent(client.request(channel, "x11-req", new Uint8Array(9)))).toEqual([
      { kind: "channelFailure", recipient: 0 },
    ]);
    client.exec(channel, "uptime");
    client.input({ kind: "verdict", verdict: { id: 1, effect: "forward" } });
    const text = errorOutput(client.input({ kind: "upstreamOpened", channel }));
    expect(text).toContain("agent forwarding is refused");
    expect(text).toContain("X11 forwarding is refused");
  });

  it.each(["LD_PRELOAD", "PATH", "BASH_ENV", "GIT_SSH_COMMAND", "LC_ALL\n", "", "LC_", "lc_all"])(
    "the environment variable %j is not taken",
    (name) => {
      const client = connected();
      const channel = client.session();
      expect(sent(client.env(channel, name, "x"))[0]?.kind).toBe("channelFailure");
      expect(client.machine.channels.get(channel)?.environment).toEqual([]);
    },
  );

  it.each(["() { :;}; id", "a\nb", "$(id)", "`id`"])("the value %j is not taken", (value) => {
    const client = connected();
    const channel = client.session();
    expect(sent(client.env(channel, "LC_ALL", value))[0]?.kind).toBe("channelFailure");
  });

  it("other subsystems and requests are refused", () => {
    const client = connected();
    const channel = client.session();
    expect(sent(client.request(channel, "subsystem", string("netconf")))[0]?.kind).toBe("channelFailure");
    expect(sent(client.request(channel, "eow@openssh.com"))[0]?.kind).toBe("channelFailure");
    expect(of(client.effects, "open")).toEqual([]);
  });
});

describe("limits and order", () => {
  it("refuses one channel too many, and sessions after no-more-sessions", () => {
    const client = connected();
    for (let i = 0; i < LIMITS.ssh.channels; i++) client.session(i);
    const refused = client.send({
      kind: "channelOpen",
      type: "session",
      sender: 999,
      window: 1,
      maximumPacket: 1024,
      data: NONE,
    });
    expect(sent(refused)[0]).toMatchObject({ kind: "channelOpenFailure", reason: 4 });
    client.send({ kind: "channelClose", recipient: 1 });
    client.send({
      kind: "globalRequest",
      name: "no-more-sessions@openssh.com",
      wantReply: false,
      data: NONE,
    });
    const late = client.send({
      kind: "channelOpen",
      type: "session",
      sender: 999,
      window: 1,
      maximumPacket: 1024,
      data: NONE,
    });
    expect(sent(late)[0]).toMatchObject({ kind: "channelOpenFailure", reason: 1 });
  });

  it.each<[string, (client: Client, channel: number) => void]>([
    [
      "data after the end of data",
      (client, channel) => {
        client.send({ kind: "channelEof", recipient: channel });
        client.send({ kind: "channelData", recipient: channel, data: utf8("x") });
      },
    ],
    [
      "a second end of data",
      (client, channel) => {
        client.send({ kind: "channelEof", recipient: channel });
        client.send({ kind: "channelEof", recipient: channel });
      },
    ],
    [
      "data for no channel",
      (client) => void client.send({ kind: "channelData", recipient: 99, data: utf8("x") }),
    ],
    [
      "data after close",
      (client, channel) => {
        client.send({ kind: "channelClose", recipient: channel });
        client.send({ kind: "channelData", recipient: channel, data: utf8("x") });
      },
    ],
    [
      "extended data",
      (client, channel) =>
        void client.send({ kind: "channelExtendedData", recipient: channel, type: 1, data: utf8("x") }),
    ],
    ["a reply to no request", (client) => void client.send({ kind: "requestSuccess", data: NONE })],
    [
      "a channel's reply to no request",
      (client, channel) => void client.send({ kind: "channelSuccess", recipient: channel }),
    ],
    [
      "a confirmation of no channel",
      (client) =>
        void client.send({
          kind: "channelOpenConfirmation",
          recipient: 9,
          sender: 9,
          window: 1,
          maximumPacket: 1,
        }),
    ],
    [
      "a channel number in use",
      (client) =>
        void client.send({
          kind: "channelOpen",
          type: "session",
          sender: 0,
          window: 1,
          maximumPacket: 1024,
          data: NONE,
        }),
    ],
    [
      "a packet size of nothing",
      (client) =>
        void client.send({
          kind: "channelOpen",
          type: "session",
          sender: 8,
          window: 1,
          maximumPacket: 0,
          data: NONE,
        }),
    ],
    [
      "a malformed pty-req",
      (client) => {
        client.request(client.session(8), "pty-req", NONE);
      },
    ],
    [
      "a malformed exec",
      (client) => {
        client.request(client.session(8), "exec", uint32(5));
      },
    ],
    [
      "trailing bytes",
      (client) =>
        void client.payload(concat([encodeMessage({ kind: "channelEof", recipient: 1 }), utf8("x")])),
    ],
    ["an unknown message", (client) => void client.payload(new Uint8Array([200, 1, 2]))],
    ["an empty message", (client) => void client.payload(NONE)],
    [
      "a message that is too large",
      (client) => void client.payload(new Uint8Array(LIMITS.ssh.packet + 1).fill(2)),
    ],
  ])("ends the connection at %s", (_, act) => {
    const client = connected();
    const channel = client.running();
    act(client, channel);
    expect(client.ended?.refusal?.code).toBe("protocol_violation");
    expect(sent(client.effects).at(-1)?.kind).toBe("disconnect");
    expect(client.machine.channels.size).toBe(0);
  });

  it("tells every channel's end, and closes the connector's, when it is terminated", () => {
    const client = connected();
    client.running(0);
    client.running(1);
    const effects = client.input({
      kind: "terminate",
      refusal: refusal("session_killed", "killed by reviewer"),
    });
    expect(sent(effects)).toEqual([
      { kind: "disconnect", reason: 11, description: "sally: killed by reviewer" },
    ]);
    expect(of(effects, "closeUpstream")).toHaveLength(2);
    expect(of(effects, "ended")).toHaveLength(2);
  });
});

describe("hostile bytes", () => {
  const message = fc.oneof(
    fc.uint8Array({ maxLength: 64 }),
    fc
      .tuple(
        fc.constantFrom(1, 2, 5, 50, 80, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100),
        fc.uint8Array({ maxLength: 40 }),
      )
      .map(([type, rest]) => new Uint8Array([type, ...rest])),
    fc
      .record({
        channel: fc.nat(3),
        type: fc.constantFrom(
          "exec",
          "shell",
          "env",
          "pty-req",
          "subsystem",
          "signal",
          "window-change",
          "x11-req",
        ),
        data: fc.uint8Array({ maxLength: 20 }),
      })
      .map(({ channel, type, data }) =>
        encodeMessage({ kind: "channelRequest", recipient: channel, type, wantReply: true, data }),
      ),
    fc
      .record({ channel: fc.nat(3), data: fc.uint8Array({ maxLength: 50 }) })
      .map(({ channel, data }) => encodeMessage({ kind: "channelData", recipient: channel, data })),
    fc.nat(3).map((sender) =>
      encodeMessage({
        kind: "channelOpen",
        type: "session",
        sender,
        window: 100,
        maximumPacket: 1024,
        data: NONE,
      }),
    ),
    fc.nat(3).map((recipient) => encodeMessage({ kind: "channelClose", recipient })),
  );

  it("never throw, never pass without a verdict, and end in good order", () => {
    fc.assert(
      fc.property(fc.boolean(), fc.array(message, { maxLength: 60 }), (authenticated, payloads) => {
        const client = new Client();
        if (authenticated) client.authenticate();
        for (const payload of payloads) client.payload(payload);
        client.input({ kind: "clientEnded" });
        const reached = of(client.effects, "open").filter(({ target }) => target.kind !== "sftp");
        expect(reached).toEqual([]);
        expect(of(client.effects, "toUpstream")).toEqual([]);
        expect(of(client.effects, "end")).toHaveLength(1);
        const asked = of(client.effects, "ask").map(({ ask }) => ask.id);
        const withdrawn = of(client.effects, "withdrawn").map(({ id }) => id);
        expect(new Set(withdrawn)).toEqual(new Set(asked));
      }),
      { numRuns: 3_000 },
    );
  });
});

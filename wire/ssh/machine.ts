/**
 * SshMachine: authentication and the connection protocol towards a native client (RFC 4252, RFC 4254).
 *
 *   service ──ssh-userauth──► authentication ──none──► connected ──► ended
 *
 * The client's WebSocket is already authenticated when its first byte arrives, so the method `none` is enough
 * and no other is offered: there is no second credential to steal. What a message may do is decided per channel
 * (channel.ts, channel-requests.ts); a message that is illegal in the current state ends the connection.
 */
import { EMPTY } from "../bytes.ts";
import { LIMITS } from "../limits.ts";
import { assertNever } from "../result.ts";
import { closeUpstream, flushOne, newChannel, send, sendClose } from "./channel.ts";
import { takeChannelData, takeChannelRequest } from "./channel-requests.ts";
import { takeUpstream } from "./channel-upstream.ts";
import { takeNotice, takeVerdict } from "./channel-verdicts.ts";
import {
  type GlobalReply,
  type SshMachine,
  NO_PEER,
  finish,
  flushGlobalReplies,
  forget,
  violate,
  withdraw,
} from "./machine-state.ts";
import {
  type SshMessage,
  DisconnectReason,
  OpenFailure,
  decodeMessage,
  decodeTcpipChannel,
  decodeTcpipForward,
} from "./messages.ts";
import type { SshEffect, SshInput } from "./machine-types.ts";

/** Takes one input and returns what has to happen, in order. The machine is changed in place. */
export function stepSsh(machine: SshMachine, input: SshInput): SshEffect[] {
  const effects: SshEffect[] = [];
  if (machine.phase === "ended") return effects;
  switch (input.kind) {
    case "clientPayload":
      takePayload(machine, input.payload, effects);
      break;
    case "clientEnded":
      finish(machine, undefined, effects);
      break;
    case "clientRoom":
      machine.clientRoom = input.bytes;
      break;
    case "verdict":
      takeVerdict(machine, input.verdict, effects);
      break;
    case "notice":
      takeNotice(machine, input.id, input.text, effects);
      break;
    case "terminate":
      effects.push(
        send({
          kind: "disconnect",
          reason: DisconnectReason.BY_APPLICATION,
          description: `sally: ${input.refusal.message}`,
        }),
      );
      finish(machine, input.refusal, effects);
      break;
    default:
      takeUpstream(machine, input, effects);
  }
  flushAll(machine, effects);
  return effects;
}

/** Sends what can go, one chunk per channel in turn, so that one busy channel does not starve the others. */
function flushAll(machine: SshMachine, effects: SshEffect[]): void {
  for (let moved = true; moved && !isEnded(machine);) {
    moved = false;
    for (const channel of machine.channels.values()) {
      const length = flushOne(channel, machine.clientRoom, effects);
      machine.clientRoom -= length;
      if (length > 0) moved = true;
    }
  }
}

function isEnded(machine: SshMachine): boolean {
  return machine.phase === "ended";
}

function takePayload(machine: SshMachine, payload: Uint8Array, effects: SshEffect[]): void {
  if (machine.phase !== "connected") {
    machine.packets += 1;
    if (machine.packets > LIMITS.ssh.packetsBeforeAuthentication)
      return violate(machine, "too many packets before authentication", effects);
  }
  const decoded = decodeMessage(payload);
  if (!decoded.ok) return violate(machine, decoded.error.replaceAll("_", " "), effects);
  const message = decoded.value;
  switch (message.kind) {
    case "ignore":
    case "debug":
    case "unimplemented":
    case "extInfo":
      return;
    case "disconnect":
      return finish(machine, undefined, effects);
    case "serviceRequest":
    case "userauthRequest":
      return machine.phase === "connected"
        ? takeLateAuthentication(machine, message, effects)
        : takeAuthentication(machine, message, effects);
    case "serviceAccept":
    case "userauthFailure":
    case "userauthSuccess":
    case "userauthBanner":
    case "userauth60":
    case "userauth61":
      return violate(machine, `${message.kind} from a client`, effects);
    default:
      if (machine.phase !== "connected")
        return violate(machine, `${message.kind} before authentication`, effects);
      return takeConnection(machine, message, effects);
  }
}

function takeLateAuthentication(machine: SshMachine, message: SshMessage, effects: SshEffect[]): void {
  // RFC 4252 section 5.3: requests after success are ignored, a second service is not offered.
  if (message.kind !== "userauthRequest") violate(machine, "service request after authentication", effects);
}

function takeAuthentication(
  machine: SshMachine,
  message: Extract<SshMessage, { kind: "serviceRequest" | "userauthRequest" }>,
  effects: SshEffect[],
): void {
  if (message.kind === "serviceRequest") {
    if (machine.phase !== "service" || message.service !== "ssh-userauth")
      return violate(machine, "service not available", effects);
    machine.phase = "authentication";
    effects.push(send({ kind: "serviceAccept", service: message.service }));
    return;
  }
  if (machine.phase !== "authentication" || message.service !== "ssh-connection")
    return violate(machine, "service not available", effects);
  machine.attempts += 1;
  if (machine.attempts > LIMITS.ssh.authentications)
    return violate(machine, "too many authentication attempts", effects);
  if (message.method !== "none") {
    effects.push(send({ kind: "userauthFailure", methods: [], partial: false }));
    return;
  }
  if (message.data.length > 0) return violate(machine, "malformed authentication request", effects);
  // What sshd would refuse, or a log or a terminal would trip over, is refused here.
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.@\\+-]*$/.test(message.user))
    return violate(machine, "login name not allowed", effects);
  machine.user = message.user;
  machine.phase = "connected";
  effects.push({ kind: "authenticated", user: message.user }, send({ kind: "userauthSuccess" }));
}

type ConnectionMessage = Exclude<
  SshMessage,
  {
    kind:
      | "ignore"
      | "debug"
      | "unimplemented"
      | "extInfo"
      | "disconnect"
      | "serviceRequest"
      | "serviceAccept"
      | "userauthRequest"
      | "userauthFailure"
      | "userauthSuccess"
      | "userauthBanner"
      | "userauth60"
      | "userauth61";
  }
>;

type ChannelMessage = Exclude<
  ConnectionMessage,
  {
    kind:
      | "globalRequest"
      | "requestSuccess"
      | "requestFailure"
      | "channelOpen"
      | "channelOpenConfirmation"
      | "channelOpenFailure";
  }
>;

function takeConnection(machine: SshMachine, message: ConnectionMessage, effects: SshEffect[]): void {
  switch (message.kind) {
    case "globalRequest":
      return takeGlobalRequest(machine, message, effects);
    case "requestSuccess":
    case "requestFailure":
      // We send no global requests that want a reply.
      return violate(machine, "reply to no request", effects);
    case "channelOpen":
      return takeOpen(machine, message, effects);
    case "channelOpenConfirmation": {
      const channel = machine.channels.get(message.recipient);
      if (channel?.kind !== "forwarded" || channel.phase !== "opening")
        return violate(machine, "confirmation of no channel", effects);
      channel.peer = message.sender;
      channel.peerWindow = message.window;
      channel.peerPacket = Math.min(message.maximumPacket, LIMITS.ssh.channelPacket);
      channel.phase = "open";
      // Whoever connected may have gone meanwhile.
      if (channel.upstream === "closed") return sendClose(channel, effects);
      channel.upstream = "open";
      effects.push({ kind: "acceptForwarded", channel: channel.id });
      return;
    }
    case "channelOpenFailure": {
      const channel = machine.channels.get(message.recipient);
      if (channel?.kind !== "forwarded" || channel.phase !== "opening")
        return violate(machine, "failure of no channel", effects);
      return forget(machine, channel, effects);
    }
    default:
      return takeChannelMessage(machine, message, effects);
  }
}

function takeChannelMessage(machine: SshMachine, message: ChannelMessage, effects: SshEffect[]): void {
  const channel = machine.channels.get(message.recipient);
  const usable =
    channel !== undefined &&
    (channel.kind === "session" || channel.phase === "open" || channel.phase === "closed");
  if (!usable || channel.kind === "listener") {
    return violate(machine, "no such channel", effects);
  }
  switch (message.kind) {
    case "channelWindowAdjust":
      channel.peerWindow += message.amount;
      if (channel.peerWindow > 0xffffffff) violate(machine, "window over 2^32 - 1", effects);
      return;
    case "channelData":
      return takeChannelData(machine, channel, message.data, effects);
    case "channelExtendedData":
      return violate(machine, "extended data from a client", effects);
    case "channelEof":
      if (channel.clientEnded) return violate(machine, "second end of data", effects);
      channel.clientEnded = true;
      if (channel.upstream === "open" && channel.parked.length === 0)
        effects.push({ kind: "endUpstream", channel: channel.id });
      return;
    case "channelClose":
      withdraw(channel, effects);
      sendClose(channel, effects);
      closeUpstream(channel, effects);
      machine.channels.delete(channel.id);
      effects.push({ kind: "ended", channel: channel.id, exit: channel.exit });
      return;
    case "channelRequest":
      return takeChannelRequest(machine, channel, message, effects);
    case "channelSuccess":
    case "channelFailure":
      // We send no channel requests that want a reply.
      return violate(machine, "reply to no request", effects);
    default:
      assertNever(message);
  }
}

function takeOpen(
  machine: SshMachine,
  message: Extract<SshMessage, { kind: "channelOpen" }>,
  effects: SshEffect[],
): void {
  const fail = (reason: number, description: string): void => {
    effects.push(
      send({
        kind: "channelOpenFailure",
        recipient: message.sender,
        reason,
        description: `sally: ${description}`,
      }),
    );
  };
  if ([...machine.channels.values()].some((channel) => channel.peer === message.sender)) {
    return violate(machine, "channel number in use", effects);
  }
  if (message.maximumPacket < 256) return violate(machine, "maximum packet too small", effects);
  if (machine.channels.size >= LIMITS.ssh.channels)
    return fail(OpenFailure.RESOURCE_SHORTAGE, "too many channels");
  const id = machine.nextChannel;
  switch (message.type) {
    case "session": {
      if (message.data.length > 0) return violate(machine, "malformed channel open", effects);
      if (machine.noMoreSessions)
        return fail(OpenFailure.ADMINISTRATIVELY_PROHIBITED, "no more sessions, as you asked");
      machine.nextChannel += 1;
      machine.channels.set(
        id,
        newChannel(id, "session", message.sender, message.window, message.maximumPacket),
      );
      effects.push(
        send({
          kind: "channelOpenConfirmation",
          recipient: message.sender,
          sender: id,
          window: LIMITS.ssh.window,
          maximumPacket: LIMITS.ssh.channelPacket,
        }),
      );
      return;
    }
    case "direct-tcpip": {
      const target = decodeTcpipChannel(message.data);
      if (target === undefined || target.port < 1 || target.port > 65_535)
        return fail(OpenFailure.CONNECT_FAILED, "malformed forward");
      machine.nextChannel += 1;
      const channel = newChannel(id, "forward", message.sender, message.window, message.maximumPacket);
      channel.phase = "asked";
      channel.target = { kind: "forward", ...target };
      channel.ask = machine.nextAsk++;
      machine.channels.set(id, channel);
      effects.push({
        kind: "ask",
        ask: { kind: "forward", id: channel.ask, channel: id, host: target.host, port: target.port },
      });
      return;
    }
    case "direct-streamlocal@openssh.com":
      effects.push({ kind: "declined", what: "forward to a Unix socket" });
      return fail(OpenFailure.ADMINISTRATIVELY_PROHIBITED, "forwards to Unix sockets are refused");
    default:
      effects.push({ kind: "declined", what: "unknown channel type" });
      return fail(OpenFailure.UNKNOWN_CHANNEL_TYPE, "channel type not supported");
  }
}

function takeGlobalRequest(
  machine: SshMachine,
  message: Extract<SshMessage, { kind: "globalRequest" }>,
  effects: SshEffect[],
): void {
  const reply: GlobalReply = { channel: undefined, answer: { kind: "requestFailure" } };
  switch (message.name) {
    case "no-more-sessions@openssh.com":
      machine.noMoreSessions = true;
      reply.answer = { kind: "requestSuccess", data: EMPTY };
      break;
    case "tcpip-forward": {
      const address = decodeTcpipForward(message.data);
      const open = [...machine.channels.values()].filter(
        (channel) => channel.target?.kind === "remoteForward",
      ).length;
      if (
        address === undefined ||
        address.port > 65_535 ||
        open >= LIMITS.ssh.remoteForwards ||
        machine.channels.size >= LIMITS.ssh.channels
      )
        break;
      const id = machine.nextChannel++;
      // A channel of the tunnel only: the client knows the forward by its address.
      const channel = newChannel(id, "listener", NO_PEER, 0, 0);
      channel.phase = "asked";
      channel.target = { kind: "remoteForward", ...address };
      channel.ask = machine.nextAsk++;
      machine.channels.set(id, channel);
      effects.push({ kind: "ask", ask: { kind: "remoteForward", id: channel.ask, channel: id, ...address } });
      if (message.wantReply) machine.globalReplies.push({ channel: id, answer: undefined });
      return;
    }
    case "cancel-tcpip-forward": {
      const address = decodeTcpipForward(message.data);
      for (const channel of machine.channels.values()) {
        const target = channel.target;
        if (target?.kind !== "remoteForward" || target.host !== address?.host || target.port !== address.port)
          continue;
        withdraw(channel, effects);
        for (const waiting of machine.globalReplies)
          if (waiting.channel === channel.id) waiting.answer ??= { kind: "requestFailure" };
        forget(machine, channel, effects);
        reply.answer = { kind: "requestSuccess", data: EMPTY };
      }
      break;
    }
    case "keepalive@openssh.com":
      // Any answer will do; sshd gives this one.
      break;
    default:
      effects.push({ kind: "declined", what: "global request" });
  }
  if (message.wantReply) {
    if (machine.globalReplies.length >= LIMITS.ssh.requestsBeforeStart)
      return violate(machine, "too many global requests", effects);
    machine.globalReplies.push(reply);
  }
  flushGlobalReplies(machine, effects);
}

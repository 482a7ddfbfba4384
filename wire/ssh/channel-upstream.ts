/** What the connector says about a channel of the tunnel. */
import { EMPTY } from "../bytes.ts";
import { LIMITS } from "../limits.ts";
import { assertNever } from "../result.ts";
import {
  type SshChannel,
  adjustWindow,
  answerStart,
  giveCreditBack,
  newChannel,
  queueClose,
  queueData,
  queueMessage,
  send,
} from "./channel.ts";
import { passUpstream } from "./channel-requests.ts";
import { runSftp } from "./channel-sftp.ts";
import { EXIT_CONNECTION, refuseUpstream, remark, remarkRefusal } from "./channel-verdicts.ts";
import { type SshMachine, NO_PEER, flushGlobalReplies, forget } from "./machine-state.ts";
import { encodeExitSignal, encodeTcpipChannel } from "./messages.ts";
import type { SshEffect, SshInput, SshSignal } from "./machine-types.ts";
import { uint32 } from "./reader.ts";
import { newSftpMachine } from "./sftp-machine.ts";

type UpstreamInput = Extract<SshInput, { channel: number }>;

export function takeUpstream(machine: SshMachine, input: UpstreamInput, effects: SshEffect[]): void {
  if (input.kind === "upstreamForwarded") return takeForwarded(machine, input, effects);
  const channel = machine.channels.get(input.channel);
  // The client has closed it in the meantime.
  if (channel === undefined) return;
  switch (input.kind) {
    case "upstreamOpened":
      return takeOpened(machine, channel, input.port, effects);
    case "upstreamOpenFailed":
      channel.upstream = "closed";
      return refuseUpstream(machine, channel, input.refusal, effects);
    case "upstreamData":
      channel.owed += input.credit;
      if (channel.sftp !== undefined && input.stream === 0)
        runSftp(machine, channel, { kind: "serverBytes", bytes: input.bytes }, effects);
      else queueData(channel, input.stream, input.bytes, true);
      return giveCreditBack(channel, effects);
    case "upstreamSent":
      channel.backlog -= input.bytes;
      return adjustWindow(channel, effects);
    case "upstreamEnd":
      return queueMessage(channel, { kind: "channelEof", recipient: channel.peer });
    case "upstreamClosed":
      return takeClosed(machine, channel, input, effects);
    case "upstreamSignal":
      return takeSignal(channel, input.signal, effects);
    default:
      assertNever(input);
  }
}

function takeOpened(
  machine: SshMachine,
  channel: SshChannel,
  port: number | undefined,
  effects: SshEffect[],
): void {
  if (channel.phase !== "opening") return;
  channel.phase = "open";
  channel.upstream = "open";
  switch (channel.kind) {
    case "session":
      answerStart(channel, effects);
      for (const text of channel.remarks) remark(channel, text);
      if (channel.target?.kind === "sftp") channel.sftp = newSftpMachine();
      break;
    case "forward":
      effects.push(
        send({
          kind: "channelOpenConfirmation",
          recipient: channel.peer,
          sender: channel.id,
          window: LIMITS.ssh.window,
          maximumPacket: LIMITS.ssh.channelPacket,
        }),
      );
      break;
    case "listener": {
      const target = channel.target;
      if (target?.kind !== "remoteForward") return;
      const chosen = target.port === 0;
      if (chosen && port !== undefined) channel.target = { ...target, port };
      for (const reply of machine.globalReplies) {
        if (reply.channel === channel.id)
          reply.answer = { kind: "requestSuccess", data: chosen ? uint32(port ?? 0) : EMPTY };
      }
      return flushGlobalReplies(machine, effects);
    }
    case "forwarded":
      return;
  }
  const parked = channel.parked;
  channel.parked = [];
  channel.parkedBytes = 0;
  for (const bytes of parked) passUpstream(machine, channel, bytes, effects);
  if (channel.clientEnded) effects.push({ kind: "endUpstream", channel: channel.id });
}

function takeClosed(
  machine: SshMachine,
  channel: SshChannel,
  input: Extract<SshInput, { kind: "upstreamClosed" }>,
  effects: SshEffect[],
): void {
  const opening = channel.phase === "opening";
  channel.upstream = "closed";
  // The client has been offered it; its answer finds the channel closed.
  if (channel.kind === "forwarded" && opening) return;
  if (opening && input.refusal !== undefined) return refuseUpstream(machine, channel, input.refusal, effects);
  if (channel.kind === "listener") return forget(machine, channel, effects);
  if (opening && channel.kind === "session") answerStart(channel, effects);
  if (input.refusal !== undefined && channel.kind === "session") {
    remarkRefusal(channel, input.refusal);
    if (channel.exit === undefined) takeSignal(channel, { type: "exit", status: EXIT_CONNECTION }, effects);
  }
  queueMessage(channel, { kind: "channelEof", recipient: channel.peer });
  queueClose(channel);
}

function takeSignal(channel: SshChannel, signal: SshSignal, effects: SshEffect[]): void {
  if (channel.kind !== "session") return;
  // A program that ends as soon as it is started may have ended before it was said to be started.
  if (channel.phase === "opening") answerStart(channel, effects);
  const request = { kind: "channelRequest", recipient: channel.peer, wantReply: false } as const;
  switch (signal.type) {
    case "exit":
      channel.exit = { status: signal.status };
      return queueMessage(channel, { ...request, type: "exit-status", data: uint32(signal.status) });
    case "exitSignal":
      channel.exit = { signal: signal.signal };
      return queueMessage(channel, { ...request, type: "exit-signal", data: encodeExitSignal(signal) });
    case "window":
    case "signal":
      // These go the other way only; a connector that sends them is not understood, and nothing comes of it.
      return;
  }
}

/** A connection on a remote forward: offer it to the client as a `forwarded-tcpip` channel. */
function takeForwarded(
  machine: SshMachine,
  input: Extract<SshInput, { kind: "upstreamForwarded" }>,
  effects: SshEffect[],
): void {
  const channel = newChannel(input.channel, "forwarded", NO_PEER, 0, 0);
  channel.phase = "opening";
  channel.upstream = "opening";
  const listener = machine.channels.get(input.forward);
  const target = listener?.target;
  // A forward that the client has just cancelled, or one connection too many.
  if (
    target?.kind !== "remoteForward" ||
    listener?.phase !== "open" ||
    machine.channels.size >= LIMITS.ssh.channels
  ) {
    return forget(machine, channel, effects);
  }
  machine.channels.set(channel.id, channel);
  const { host, port } = target;
  effects.push(
    send({
      kind: "channelOpen",
      type: "forwarded-tcpip",
      sender: channel.id,
      window: LIMITS.ssh.window,
      maximumPacket: LIMITS.ssh.channelPacket,
      data: encodeTcpipChannel({ host, port, originHost: input.originHost, originPort: input.originPort }),
    }),
  );
}

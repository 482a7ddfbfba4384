/** What policy answered: open the channel, or tell the client why not. */
import { utf8 } from "../bytes.ts";
import type { Refusal } from "../refusals.ts";
import { type SshChannel, answerStart, queueClose, queueData, queueMessage, send } from "./channel.ts";
import { runSftp } from "./channel-sftp.ts";
import { type SshMachine, flushGlobalReplies } from "./machine-state.ts";
import { OpenFailure } from "./messages.ts";
import type { SshEffect, SshVerdict } from "./machine-types.ts";
import { uint32 } from "./reader.ts";

/** Exit status of a command that was found but must not run (POSIX sh, "command invocation"). */
const EXIT_REFUSED = 126;
/** What ssh itself exits with when the connection fails. */
const EXIT_CONNECTION = 255;

/** Lines for the person at the other end, on standard error. */
export function remark(channel: SshChannel, text: string): void {
  queueData(channel, 1, utf8(`sally: ${text}${channel.terminal === undefined ? "\n" : "\r\n"}`), false);
}

function remarkRefusal(channel: SshChannel, refusal: Refusal): void {
  remark(channel, refusal.message);
  if (refusal.hint !== undefined) remark(channel, refusal.hint);
}

export function takeNotice(machine: SshMachine, id: number, text: string, effects: SshEffect[]): void {
  for (const channel of machine.channels.values()) {
    if (channel.ask !== id) continue;
    channel.held = true;
    // A client shows nothing of a channel whose request is not answered.
    if (channel.kind === "session") {
      answerStart(channel, effects);
      remark(channel, text);
    }
  }
}

export function takeVerdict(machine: SshMachine, verdict: SshVerdict, effects: SshEffect[]): void {
  for (const channel of machine.channels.values()) {
    if (channel.sftp?.busy?.stage === "asked" && channel.sftp.busy.ask === verdict.id) {
      const refused = verdict.effect === "refuse" ? verdict.refusal : undefined;
      if (refused !== undefined) effects.push({ kind: "refused", id: verdict.id, refusal: refused });
      return runSftp(machine, channel, { kind: "verdict", ask: verdict.id, refusal: refused }, effects);
    }
    if (channel.ask !== verdict.id || channel.target === undefined) continue;
    channel.ask = undefined;
    channel.held = false;
    if (verdict.effect === "forward") {
      channel.phase = "opening";
      channel.upstream = "opening";
      effects.push({ kind: "open", channel: channel.id, target: channel.target });
    } else {
      effects.push({ kind: "refused", id: verdict.id, refusal: verdict.refusal });
      refuseChannel(machine, channel, verdict.refusal, EXIT_REFUSED, effects);
    }
    return;
  }
  // The client gave up in the meantime.
}

/** Ends a channel that will not open, each kind in the way that its client understands. */
export function refuseChannel(
  machine: SshMachine,
  channel: SshChannel,
  refusal: Refusal,
  status: number,
  effects: SshEffect[],
): void {
  switch (channel.kind) {
    case "session":
      answerStart(channel, effects);
      for (const text of channel.remarks) remark(channel, text);
      remarkRefusal(channel, refusal);
      queueMessage(channel, {
        kind: "channelRequest",
        recipient: channel.peer,
        type: "exit-status",
        wantReply: false,
        data: uint32(status),
      });
      channel.exit = { status };
      channel.phase = "closed";
      channel.upstream = "closed";
      queueClose(channel);
      return;
    case "forward": {
      const reason =
        status === EXIT_REFUSED ? OpenFailure.ADMINISTRATIVELY_PROHIBITED : OpenFailure.CONNECT_FAILED;
      effects.push(
        send({
          kind: "channelOpenFailure",
          recipient: channel.peer,
          reason,
          description: `sally: ${refusal.message}`,
        }),
      );
      machine.channels.delete(channel.id);
      return;
    }
    case "listener": {
      for (const reply of machine.globalReplies)
        if (reply.channel === channel.id) reply.answer = { kind: "requestFailure" };
      machine.channels.delete(channel.id);
      flushGlobalReplies(machine, effects);
      return;
    }
    case "forwarded":
      // Opened by the connector: there is nothing to refuse to the client.
      return;
  }
}

export function refuseUpstream(
  machine: SshMachine,
  channel: SshChannel,
  refusal: Refusal,
  effects: SshEffect[],
): void {
  refuseChannel(machine, channel, refusal, EXIT_CONNECTION, effects);
}

export { remarkRefusal, EXIT_CONNECTION };

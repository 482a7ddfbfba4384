/** The state of SshMachine and what every part of it needs to change in it. */
import { LIMITS } from "../limits.ts";
import { type Refusal, refusal } from "../refusals.ts";
import { type SshChannel, closeUpstream, send } from "./channel.ts";
import { type SshMessage, DisconnectReason } from "./messages.ts";
import type { SshEffect } from "./machine-types.ts";

/** No channel number of a client, which are unsigned. */
export const NO_PEER = -1;

export type GlobalReply = { readonly channel: number | undefined; answer: SshMessage | undefined };

export type SshMachine = {
  phase: "service" | "authentication" | "connected" | "ended";
  /** Login name that the client chose; "" before authentication. */
  user: string;
  packets: number;
  attempts: number;
  noMoreSessions: boolean;
  channels: Map<number, SshChannel>;
  nextChannel: number;
  nextAsk: number;
  /** Bytes of channel data that the client's transport takes now. */
  clientRoom: number;
  /** Replies to global requests, which have to go in the order of the requests (RFC 4254 section 4). */
  globalReplies: GlobalReply[];
};

export function newSshMachine(): SshMachine {
  return {
    phase: "service",
    user: "",
    packets: 0,
    attempts: 0,
    noMoreSessions: false,
    channels: new Map(),
    nextChannel: 1,
    nextAsk: 1,
    clientRoom: LIMITS.ssh.clientBacklog,
    globalReplies: [],
  };
}

/** A number for a channel that the connector has opened; the machine hears of it by `upstreamForwarded`. */
export function reserveChannel(machine: SshMachine): number {
  return machine.nextChannel++;
}

/** Forgets a channel of which the client knows nothing, or nothing any more. */
export function forget(machine: SshMachine, channel: SshChannel, effects: SshEffect[]): void {
  machine.channels.delete(channel.id);
  closeUpstream(channel, effects);
  effects.push({ kind: "ended", channel: channel.id, exit: undefined });
}

/** Ends the connection from our side because the client broke the protocol. */
export function violate(machine: SshMachine, reason: string, effects: SshEffect[]): void {
  effects.push(
    send({ kind: "disconnect", reason: DisconnectReason.PROTOCOL_ERROR, description: `sally: ${reason}` }),
  );
  finish(machine, refusal("protocol_violation", reason), effects);
}

/** Ends everything; a DISCONNECT, where there is one, has been emitted before. */
export function finish(machine: SshMachine, reason: Refusal | undefined, effects: SshEffect[]): void {
  machine.phase = "ended";
  for (const channel of machine.channels.values()) {
    withdraw(channel, effects);
    closeUpstream(channel, effects);
    effects.push({ kind: "ended", channel: channel.id, exit: channel.exit });
  }
  machine.channels.clear();
  effects.push({ kind: "end", refusal: reason });
}

/** Tells the caller that nobody waits for the channel's ask any more. */
export function withdraw(channel: SshChannel, effects: SshEffect[]): void {
  if (channel.ask !== undefined) effects.push({ kind: "withdrawn", id: channel.ask });
  channel.ask = undefined;
  if (channel.sftp?.busy?.stage === "asked") effects.push({ kind: "withdrawn", id: channel.sftp.busy.ask });
}

/** Sends the global replies that are known, up to the first that is not. */
export function flushGlobalReplies(machine: SshMachine, effects: SshEffect[]): void {
  for (;;) {
    const answer = machine.globalReplies[0]?.answer;
    if (answer === undefined) return;
    machine.globalReplies.shift();
    effects.push(send(answer));
  }
}

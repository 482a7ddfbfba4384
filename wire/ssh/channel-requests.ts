/** What a client sends on a channel: data, and the requests of RFC 4254 section 6. */
import { displayUtf8, fromUtf8 } from "../bytes.ts";
import { LIMITS } from "../limits.ts";
import { type SshChannel, adjustWindow, answerStart, queueClose, queueMessage, send } from "./channel.ts";
import { runSftp } from "./channel-sftp.ts";
import { type SshMachine, violate, withdraw } from "./machine-state.ts";
import {
  SIGNALS,
  type SshMessage,
  decodeEnvironment,
  decodePtyRequest,
  decodeSingleString,
  decodeWindowChange,
} from "./messages.ts";
import type { SshEffect, TerminalOpen } from "./machine-types.ts";
import { uint32 } from "./reader.ts";
import { toBase64 } from "./base64.ts";

/** Environment variables that a client may set; sshd's AcceptEnv filters again. None of them runs anything. */
const ENVIRONMENT = /^(LANG|LANGUAGE|LC_[A-Z]+|TZ|COLORTERM|NO_COLOR|GIT_PROTOCOL)$/;
const ENVIRONMENT_VALUE = /^[\w.:@,+=/ -]*$/;

/** ETX, what Ctrl-C sends through a terminal in raw mode. */
const CTRL_C = 3;

export function takeChannelData(
  machine: SshMachine,
  channel: SshChannel,
  data: Uint8Array,
  effects: SshEffect[],
): void {
  if (channel.clientEnded) return violate(machine, "data after end of data", effects);
  if (data.length > channel.window || data.length > LIMITS.ssh.channelPacket)
    return violate(machine, "data over the window", effects);
  channel.window -= data.length;
  // A channel that we have closed may still receive what was on its way.
  if (channel.phase === "closed") return;
  channel.unadjusted += data.length;
  if (channel.held && channel.terminal !== undefined && data.includes(CTRL_C))
    return giveUp(channel, effects);
  if (channel.upstream !== "open") {
    // A copy: it outlives the packet it came in.
    channel.parked.push(data.slice());
    channel.parkedBytes += data.length;
    return;
  }
  passUpstream(machine, channel, data, effects);
}

/** Hands bytes to the connector, or to the file transfer machine in between. */
export function passUpstream(
  machine: SshMachine,
  channel: SshChannel,
  data: Uint8Array,
  effects: SshEffect[],
): void {
  if (channel.sftp !== undefined) {
    runSftp(machine, channel, { kind: "clientBytes", bytes: data }, effects);
  } else {
    effects.push(
      { kind: "received", channel: channel.id, bytes: data },
      { kind: "toUpstream", channel: channel.id, bytes: data },
    );
    channel.backlog += data.length;
  }
  adjustWindow(channel, effects);
}

/** Ctrl-C, or a signal, while the program waits for approval: the client does not want it any more. */
function giveUp(channel: SshChannel, effects: SshEffect[]): void {
  withdraw(channel, effects);
  channel.held = false;
  channel.phase = "closed";
  answerStart(channel, effects);
  // 128 + SIGINT, as a shell reports it.
  queueMessage(channel, {
    kind: "channelRequest",
    recipient: channel.peer,
    type: "exit-status",
    wantReply: false,
    data: uint32(130),
  });
  queueClose(channel);
}

type Request = Extract<SshMessage, { kind: "channelRequest" }>;

export function takeChannelRequest(
  machine: SshMachine,
  channel: SshChannel,
  request: Request,
  effects: SshEffect[],
): void {
  channel.requests += 1;
  if (channel.phase === "closed") return;
  if (channel.kind !== "session") return reply(channel, request, false, effects);
  if (channel.phase === "waiting") {
    if (channel.requests > LIMITS.ssh.requestsBeforeStart)
      return violate(machine, "too many channel requests", effects);
    return takeBeforeStart(machine, channel, request, effects);
  }
  switch (request.type) {
    case "window-change": {
      const size = decodeWindowChange(request.data);
      if (size === undefined || channel.terminal === undefined)
        return reply(channel, request, false, effects);
      channel.terminal = { ...channel.terminal, ...size };
      if (channel.upstream === "open") {
        effects.push({ kind: "resized", channel: channel.id, columns: size.columns, rows: size.rows });
        effects.push({ kind: "signalUpstream", channel: channel.id, signal: { type: "window", ...size } });
      }
      return reply(channel, request, true, effects);
    }
    case "signal": {
      const name = displayUtf8(decodeSingleString(request.data) ?? new Uint8Array());
      const known = SIGNALS.find((signal) => signal === name);
      if (known === undefined) return reply(channel, request, false, effects);
      if (channel.upstream === "open")
        effects.push({
          kind: "signalUpstream",
          channel: channel.id,
          signal: { type: "signal", signal: known },
        });
      else if (channel.held) return giveUp(channel, effects);
      return reply(channel, request, true, effects);
    }
    default:
      return reply(channel, request, false, effects);
  }
}

function reply(channel: SshChannel, request: Request, success: boolean, effects: SshEffect[]): void {
  if (!request.wantReply) return;
  if (channel.startReplyDue) channel.laterReplies += 1;
  else effects.push(send({ kind: success ? "channelSuccess" : "channelFailure", recipient: channel.peer }));
}

function takeBeforeStart(
  machine: SshMachine,
  channel: SshChannel,
  request: Request,
  effects: SshEffect[],
): void {
  switch (request.type) {
    case "pty-req": {
      const terminal = decodePtyRequest(request.data);
      if (terminal === undefined || channel.terminal !== undefined)
        return violate(machine, "malformed pty-req", effects);
      // TERM becomes part of the program's environment.
      if (!/^[\w.+-]*$/.test(terminal.term)) return reply(channel, request, false, effects);
      channel.terminal = { ...terminal, modes: terminal.modes.slice() };
      return reply(channel, request, true, effects);
    }
    case "env": {
      const variable = decodeEnvironment(request.data);
      if (variable === undefined) return violate(machine, "malformed env", effects);
      const allowed =
        ENVIRONMENT.test(variable.name) &&
        ENVIRONMENT_VALUE.test(variable.value) &&
        channel.environment.length < LIMITS.ssh.environment;
      if (allowed) channel.environment.push([variable.name, variable.value]);
      return reply(channel, request, allowed, effects);
    }
    case "auth-agent-req@openssh.com":
      effects.push({ kind: "declined", what: "agent forwarding" });
      channel.remarks.push(
        "agent forwarding is refused: a key in your agent must not be usable behind the gateway",
      );
      return reply(channel, request, false, effects);
    case "x11-req":
      effects.push({ kind: "declined", what: "X11 forwarding" });
      channel.remarks.push("X11 forwarding is refused");
      return reply(channel, request, false, effects);
    case "shell":
      if (request.data.length > 0) return violate(machine, "malformed shell request", effects);
      return start(machine, channel, request, { kind: "shell", ...setting(channel) }, effects);
    case "exec": {
      const command = decodeSingleString(request.data);
      if (command === undefined) return violate(machine, "malformed exec request", effects);
      return start(
        machine,
        channel,
        request,
        { kind: "exec", command: toBase64(command), ...setting(channel) },
        effects,
        command.slice(),
      );
    }
    case "subsystem": {
      const name = fromUtf8(decodeSingleString(request.data) ?? new Uint8Array());
      if (name !== "sftp") {
        effects.push({ kind: "declined", what: "unknown subsystem" });
        return reply(channel, request, false, effects);
      }
      // Opening the subsystem does nothing yet: each of its requests is decided.
      channel.target = { kind: "sftp" };
      channel.startReplyDue = request.wantReply;
      channel.phase = "opening";
      channel.upstream = "opening";
      return void effects.push({ kind: "open", channel: channel.id, target: channel.target });
    }
    default:
      effects.push({ kind: "declined", what: "unknown channel request" });
      return reply(channel, request, false, effects);
  }
}

function setting(channel: SshChannel): { terminal?: TerminalOpen; environment: [string, string][] } {
  const environment = channel.environment;
  if (channel.terminal === undefined) return { environment };
  return { environment, terminal: { ...channel.terminal, modes: toBase64(channel.terminal.modes) } };
}

function start(
  machine: SshMachine,
  channel: SshChannel,
  request: Request,
  target: NonNullable<SshChannel["target"]>,
  effects: SshEffect[],
  command?: Uint8Array,
): void {
  channel.target = target;
  channel.startReplyDue = request.wantReply;
  channel.phase = "asked";
  const id = machine.nextAsk++;
  channel.ask = id;
  const common = {
    id,
    channel: channel.id,
    terminal: channel.terminal !== undefined,
    environment: channel.environment,
  };
  effects.push({
    kind: "ask",
    ask: command === undefined ? { kind: "shell", ...common } : { kind: "exec", command, ...common },
  });
}

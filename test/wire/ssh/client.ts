/** A scripted client of SshMachine: sends messages, keeps what the machine does. */
import { newSshMachine } from "../../../wire/ssh/machine-state.ts";
import { stepSsh } from "../../../wire/ssh/machine.ts";
import type { SshEffect, SshInput } from "../../../wire/ssh/machine-types.ts";
import {
  type SshMessage,
  decodeMessage,
  encodeMessage,
  encodePtyRequest,
} from "../../../wire/ssh/messages.ts";
import { string } from "../../../wire/ssh/reader.ts";
import { concat, utf8 } from "../../../wire/bytes.ts";

export type Seen<Kind extends SshEffect["kind"]> = Extract<SshEffect, { kind: Kind }>;

export class Client {
  readonly machine = newSshMachine();
  /** Every effect so far. */
  readonly effects: SshEffect[] = [];

  input(input: SshInput): SshEffect[] {
    const effects = stepSsh(this.machine, input);
    this.effects.push(...effects);
    return effects;
  }

  payload(payload: Uint8Array): SshEffect[] {
    return this.input({ kind: "clientPayload", payload });
  }

  send(message: SshMessage): SshEffect[] {
    return this.payload(encodeMessage(message));
  }

  authenticate(user = "deploy"): this {
    this.send({ kind: "serviceRequest", service: "ssh-userauth" });
    this.send({
      kind: "userauthRequest",
      user,
      service: "ssh-connection",
      method: "none",
      data: new Uint8Array(),
    });
    return this;
  }

  /** Opens a session channel; the client's number is `peer`, ours comes back. */
  session(peer = 0, window = 1 << 20): number {
    const effects = this.send({
      kind: "channelOpen",
      type: "session",
      sender: peer,
      window,
      maximumPacket: 32 << 10,
      data: new Uint8Array(),
    });
    const confirmed = sent(effects).find((message) => message.kind === "channelOpenConfirmation");
    if (confirmed === undefined) throw new Error("the channel was not opened");
    return confirmed.sender;
  }

  request(
    recipient: number,
    type: string,
    data: Uint8Array = new Uint8Array(),
    wantReply = true,
  ): SshEffect[] {
    return this.send({ kind: "channelRequest", recipient, type, wantReply, data });
  }

  exec(recipient: number, command: string): SshEffect[] {
    return this.request(recipient, "exec", string(command));
  }

  terminal(recipient: number): SshEffect[] {
    return this.request(
      recipient,
      "pty-req",
      encodePtyRequest({
        term: "xterm",
        columns: 80,
        rows: 24,
        width: 0,
        height: 0,
        modes: new Uint8Array([0]),
      }),
    );
  }

  env(recipient: number, name: string, value: string): SshEffect[] {
    return this.request(recipient, "env", concat([string(name), string(value)]));
  }

  /** A channel whose program runs: asked, allowed, opened. */
  running(peer = 0, command = "uptime"): number {
    const channel = this.session(peer);
    const [asked] = of(this.exec(channel, command), "ask");
    if (asked === undefined) throw new Error("nothing was asked");
    this.input({ kind: "verdict", verdict: { id: asked.ask.id, effect: "forward" } });
    this.input({ kind: "upstreamOpened", channel });
    return channel;
  }

  output(channel: number, text: string | Uint8Array, stream: 0 | 1 = 0): SshEffect[] {
    const bytes = typeof text === "string" ? utf8(text) : text;
    return this.input({ kind: "upstreamData", channel, stream, bytes, credit: bytes.length });
  }

  get ended(): Seen<"end"> | undefined {
    return of(this.effects, "end")[0];
  }
}

export function of<Kind extends SshEffect["kind"]>(effects: readonly SshEffect[], kind: Kind): Seen<Kind>[] {
  return effects.filter((effect): effect is Seen<Kind> => effect.kind === kind);
}

/** The messages that the effects send to the client, decoded. */
export function sent(effects: readonly SshEffect[]): SshMessage[] {
  return of(effects, "send").map(({ payload }) => {
    const decoded = decodeMessage(payload);
    if (!decoded.ok) throw new Error(`the machine sent what is no message: ${decoded.error}`);
    return decoded.value;
  });
}

/** Texts of standard error in the effects. */
export function errorOutput(effects: readonly SshEffect[]): string {
  return sent(effects)
    .map((message) => (message.kind === "channelExtendedData" ? new TextDecoder().decode(message.data) : ""))
    .join("");
}

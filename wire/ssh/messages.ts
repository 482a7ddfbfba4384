/**
 * Messages of the SSH authentication and connection protocols (RFC 4252, RFC 4254) and the generic ones of the
 * transport (RFC 4253 section 11). Key exchange is the transport's business and never comes here.
 * Names are those of the RFCs. Data of a decoded message are views of the payload, not copies.
 */
import { concat } from "../bytes.ts";
import { LIMITS } from "../limits.ts";
import { type Result, err, ok } from "../result.ts";
import { Reader, boolean, byte, string, uint32 } from "./reader.ts";

export const Message = {
  DISCONNECT: 1,
  IGNORE: 2,
  UNIMPLEMENTED: 3,
  DEBUG: 4,
  SERVICE_REQUEST: 5,
  SERVICE_ACCEPT: 6,
  EXT_INFO: 7,
  USERAUTH_REQUEST: 50,
  USERAUTH_FAILURE: 51,
  USERAUTH_SUCCESS: 52,
  USERAUTH_BANNER: 53,
  /** 60 and 61 depend on the method: PK_OK, PASSWD_CHANGEREQ, INFO_REQUEST; INFO_RESPONSE. */
  USERAUTH_60: 60,
  USERAUTH_61: 61,
  GLOBAL_REQUEST: 80,
  REQUEST_SUCCESS: 81,
  REQUEST_FAILURE: 82,
  CHANNEL_OPEN: 90,
  CHANNEL_OPEN_CONFIRMATION: 91,
  CHANNEL_OPEN_FAILURE: 92,
  CHANNEL_WINDOW_ADJUST: 93,
  CHANNEL_DATA: 94,
  CHANNEL_EXTENDED_DATA: 95,
  CHANNEL_EOF: 96,
  CHANNEL_CLOSE: 97,
  CHANNEL_REQUEST: 98,
  CHANNEL_SUCCESS: 99,
  CHANNEL_FAILURE: 100,
} as const;

/** RFC 4250 section 4.2.2. */
export const DisconnectReason = {
  PROTOCOL_ERROR: 2,
  SERVICE_NOT_AVAILABLE: 7,
  CONNECTION_LOST: 10,
  BY_APPLICATION: 11,
  NO_MORE_AUTH_METHODS_AVAILABLE: 14,
} as const;

/** RFC 4250 section 4.3. */
export const OpenFailure = {
  ADMINISTRATIVELY_PROHIBITED: 1,
  CONNECT_FAILED: 2,
  UNKNOWN_CHANNEL_TYPE: 3,
  RESOURCE_SHORTAGE: 4,
} as const;

export type SshMessage =
  | { readonly kind: "disconnect"; readonly reason: number; readonly description: string }
  | { readonly kind: "ignore" }
  | { readonly kind: "debug" }
  | { readonly kind: "unimplemented"; readonly sequence: number }
  | { readonly kind: "serviceRequest"; readonly service: string }
  | { readonly kind: "serviceAccept"; readonly service: string }
  | { readonly kind: "extInfo"; readonly extensions: readonly (readonly [string, Uint8Array])[] }
  | {
      readonly kind: "userauthRequest";
      readonly user: string;
      readonly service: string;
      readonly method: string;
      readonly data: Uint8Array;
    }
  | { readonly kind: "userauthFailure"; readonly methods: readonly string[]; readonly partial: boolean }
  | { readonly kind: "userauthSuccess" }
  | { readonly kind: "userauthBanner"; readonly message: string }
  | { readonly kind: "userauth60"; readonly data: Uint8Array }
  | { readonly kind: "userauth61"; readonly data: Uint8Array }
  | {
      readonly kind: "globalRequest";
      readonly name: string;
      readonly wantReply: boolean;
      readonly data: Uint8Array;
    }
  | { readonly kind: "requestSuccess"; readonly data: Uint8Array }
  | { readonly kind: "requestFailure" }
  | {
      readonly kind: "channelOpen";
      readonly type: string;
      readonly sender: number;
      readonly window: number;
      readonly maximumPacket: number;
      readonly data: Uint8Array;
    }
  | {
      readonly kind: "channelOpenConfirmation";
      readonly recipient: number;
      readonly sender: number;
      readonly window: number;
      readonly maximumPacket: number;
    }
  | {
      readonly kind: "channelOpenFailure";
      readonly recipient: number;
      readonly reason: number;
      readonly description: string;
    }
  | { readonly kind: "channelWindowAdjust"; readonly recipient: number; readonly amount: number }
  | { readonly kind: "channelData"; readonly recipient: number; readonly data: Uint8Array }
  | {
      readonly kind: "channelExtendedData";
      readonly recipient: number;
      readonly type: number;
      readonly data: Uint8Array;
    }
  | { readonly kind: "channelEof"; readonly recipient: number }
  | { readonly kind: "channelClose"; readonly recipient: number }
  | {
      readonly kind: "channelRequest";
      readonly recipient: number;
      readonly type: string;
      readonly wantReply: boolean;
      readonly data: Uint8Array;
    }
  | { readonly kind: "channelSuccess"; readonly recipient: number }
  | { readonly kind: "channelFailure"; readonly recipient: number };

export type MessageError = "message_empty" | "message_too_large" | "message_unknown" | "message_malformed";

/** Decodes one packet's payload. */
export function decodeMessage(payload: Uint8Array): Result<SshMessage, MessageError> {
  const type = payload[0];
  if (type === undefined) return err("message_empty");
  if (payload.length > LIMITS.ssh.packet) return err("message_too_large");
  const reader = new Reader(payload, 1);
  const message = read(type, reader);
  if (message === undefined) return err("message_unknown");
  // Trailing bytes mean that the two sides disagree about what the message says.
  return reader.done() ? ok(message) : err("message_malformed");
}

function read(type: number, reader: Reader): SshMessage | undefined {
  switch (type) {
    case Message.DISCONNECT: {
      const message: SshMessage = { kind: "disconnect", reason: reader.uint32(), description: reader.text() };
      // Some clients leave the language tag out.
      reader.rest();
      return message;
    }
    case Message.IGNORE:
      reader.rest();
      return { kind: "ignore" };
    case Message.DEBUG:
      reader.rest();
      return { kind: "debug" };
    case Message.UNIMPLEMENTED:
      return { kind: "unimplemented", sequence: reader.uint32() };
    case Message.SERVICE_REQUEST:
      return { kind: "serviceRequest", service: reader.text() };
    case Message.SERVICE_ACCEPT:
      return { kind: "serviceAccept", service: reader.text() };
    case Message.EXT_INFO: {
      const count = reader.uint32();
      const extensions: [string, Uint8Array][] = [];
      for (let i = 0; i < count && !reader.failed; i++) extensions.push([reader.text(), reader.bytes()]);
      return { kind: "extInfo", extensions };
    }
    case Message.USERAUTH_REQUEST:
      return {
        kind: "userauthRequest",
        user: reader.text(LIMITS.ssh.user),
        service: reader.text(),
        method: reader.text(),
        data: reader.rest(),
      };
    case Message.USERAUTH_FAILURE:
      return { kind: "userauthFailure", methods: nameList(reader.text()), partial: reader.boolean() };
    case Message.USERAUTH_SUCCESS:
      return { kind: "userauthSuccess" };
    case Message.USERAUTH_BANNER: {
      const message = reader.text();
      reader.bytes();
      return { kind: "userauthBanner", message };
    }
    case Message.USERAUTH_60:
      return { kind: "userauth60", data: reader.rest() };
    case Message.USERAUTH_61:
      return { kind: "userauth61", data: reader.rest() };
    case Message.GLOBAL_REQUEST:
      return { kind: "globalRequest", name: reader.text(), wantReply: reader.boolean(), data: reader.rest() };
    case Message.REQUEST_SUCCESS:
      return { kind: "requestSuccess", data: reader.rest() };
    case Message.REQUEST_FAILURE:
      return { kind: "requestFailure" };
    case Message.CHANNEL_OPEN:
      return {
        kind: "channelOpen",
        type: reader.text(),
        sender: reader.uint32(),
        window: reader.uint32(),
        maximumPacket: reader.uint32(),
        data: reader.rest(),
      };
    case Message.CHANNEL_OPEN_CONFIRMATION: {
      const message: SshMessage = {
        kind: "channelOpenConfirmation",
        recipient: reader.uint32(),
        sender: reader.uint32(),
        window: reader.uint32(),
        maximumPacket: reader.uint32(),
      };
      reader.rest();
      return message;
    }
    case Message.CHANNEL_OPEN_FAILURE: {
      const message: SshMessage = {
        kind: "channelOpenFailure",
        recipient: reader.uint32(),
        reason: reader.uint32(),
        description: reader.text(),
      };
      reader.rest();
      return message;
    }
    case Message.CHANNEL_WINDOW_ADJUST:
      return { kind: "channelWindowAdjust", recipient: reader.uint32(), amount: reader.uint32() };
    case Message.CHANNEL_DATA:
      return { kind: "channelData", recipient: reader.uint32(), data: reader.bytes() };
    case Message.CHANNEL_EXTENDED_DATA:
      return {
        kind: "channelExtendedData",
        recipient: reader.uint32(),
        type: reader.uint32(),
        data: reader.bytes(),
      };
    case Message.CHANNEL_EOF:
      return { kind: "channelEof", recipient: reader.uint32() };
    case Message.CHANNEL_CLOSE:
      return { kind: "channelClose", recipient: reader.uint32() };
    case Message.CHANNEL_REQUEST:
      return {
        kind: "channelRequest",
        recipient: reader.uint32(),
        type: reader.text(),
        wantReply: reader.boolean(),
        data: reader.rest(),
      };
    case Message.CHANNEL_SUCCESS:
      return { kind: "channelSuccess", recipient: reader.uint32() };
    case Message.CHANNEL_FAILURE:
      return { kind: "channelFailure", recipient: reader.uint32() };
    default:
      return undefined;
  }
}

function nameList(text: string): string[] {
  return text === "" ? [] : text.split(",");
}

/** Encodes one message as a packet's payload. */
export function encodeMessage(message: SshMessage): Uint8Array {
  switch (message.kind) {
    case "disconnect":
      return concat([
        byte(Message.DISCONNECT),
        uint32(message.reason),
        string(message.description),
        string(""),
      ]);
    case "ignore":
      return concat([byte(Message.IGNORE), string("")]);
    case "debug":
      return concat([byte(Message.DEBUG), boolean(false), string(""), string("")]);
    case "unimplemented":
      return concat([byte(Message.UNIMPLEMENTED), uint32(message.sequence)]);
    case "serviceRequest":
      return concat([byte(Message.SERVICE_REQUEST), string(message.service)]);
    case "serviceAccept":
      return concat([byte(Message.SERVICE_ACCEPT), string(message.service)]);
    case "extInfo":
      return concat([
        byte(Message.EXT_INFO),
        uint32(message.extensions.length),
        ...message.extensions.flatMap(([name, value]) => [string(name), string(value)]),
      ]);
    case "userauthRequest":
      return concat([
        byte(Message.USERAUTH_REQUEST),
        string(message.user),
        string(message.service),
        string(message.method),
        message.data,
      ]);
    case "userauthFailure":
      return concat([
        byte(Message.USERAUTH_FAILURE),
        string(message.methods.join(",")),
        boolean(message.partial),
      ]);
    case "userauthSuccess":
      return byte(Message.USERAUTH_SUCCESS);
    case "userauthBanner":
      return concat([byte(Message.USERAUTH_BANNER), string(message.message), string("")]);
    case "userauth60":
      return concat([byte(Message.USERAUTH_60), message.data]);
    case "userauth61":
      return concat([byte(Message.USERAUTH_61), message.data]);
    case "globalRequest":
      return concat([
        byte(Message.GLOBAL_REQUEST),
        string(message.name),
        boolean(message.wantReply),
        message.data,
      ]);
    case "requestSuccess":
      return concat([byte(Message.REQUEST_SUCCESS), message.data]);
    case "requestFailure":
      return byte(Message.REQUEST_FAILURE);
    case "channelOpen":
      return concat([
        byte(Message.CHANNEL_OPEN),
        string(message.type),
        uint32(message.sender),
        uint32(message.window),
        uint32(message.maximumPacket),
        message.data,
      ]);
    case "channelOpenConfirmation":
      return concat([
        byte(Message.CHANNEL_OPEN_CONFIRMATION),
        uint32(message.recipient),
        uint32(message.sender),
        uint32(message.window),
        uint32(message.maximumPacket),
      ]);
    case "channelOpenFailure":
      return concat([
        byte(Message.CHANNEL_OPEN_FAILURE),
        uint32(message.recipient),
        uint32(message.reason),
        string(message.description),
        string(""),
      ]);
    case "channelWindowAdjust":
      return concat([byte(Message.CHANNEL_WINDOW_ADJUST), uint32(message.recipient), uint32(message.amount)]);
    case "channelData":
      return concat([
        byte(Message.CHANNEL_DATA),
        uint32(message.recipient),
        uint32(message.data.length),
        message.data,
      ]);
    case "channelExtendedData":
      return concat([
        byte(Message.CHANNEL_EXTENDED_DATA),
        uint32(message.recipient),
        uint32(message.type),
        uint32(message.data.length),
        message.data,
      ]);
    case "channelEof":
      return concat([byte(Message.CHANNEL_EOF), uint32(message.recipient)]);
    case "channelClose":
      return concat([byte(Message.CHANNEL_CLOSE), uint32(message.recipient)]);
    case "channelRequest":
      return concat([
        byte(Message.CHANNEL_REQUEST),
        uint32(message.recipient),
        string(message.type),
        boolean(message.wantReply),
        message.data,
      ]);
    case "channelSuccess":
      return concat([byte(Message.CHANNEL_SUCCESS), uint32(message.recipient)]);
    case "channelFailure":
      return concat([byte(Message.CHANNEL_FAILURE), uint32(message.recipient)]);
  }
}

/** Type of extended data that carries standard error (RFC 4254 section 5.2). */
export const EXTENDED_DATA_STDERR = 1;

export type TerminalSize = {
  readonly columns: number;
  readonly rows: number;
  readonly width: number;
  readonly height: number;
};

/** `pty-req` (RFC 4254 section 6.2); `modes` are the encoded terminal modes of section 8, passed on as they are. */
export type Terminal = TerminalSize & { readonly term: string; readonly modes: Uint8Array };

/** Signals of RFC 4254 section 6.10. */
export const SIGNALS = [
  "ABRT",
  "ALRM",
  "FPE",
  "HUP",
  "ILL",
  "INT",
  "KILL",
  "PIPE",
  "QUIT",
  "SEGV",
  "TERM",
  "USR1",
  "USR2",
] as const;

function size(reader: Reader): TerminalSize {
  return { columns: reader.uint32(), rows: reader.uint32(), width: reader.uint32(), height: reader.uint32() };
}

function whole<T>(reader: Reader, value: T): T | undefined {
  return reader.done() ? value : undefined;
}

export function decodePtyRequest(data: Uint8Array): Terminal | undefined {
  const reader = new Reader(data);
  return whole(reader, { term: reader.text(64), ...size(reader), modes: reader.bytes(1024) });
}

export function encodePtyRequest(terminal: Terminal): Uint8Array {
  return concat([
    string(terminal.term),
    uint32(terminal.columns),
    uint32(terminal.rows),
    uint32(terminal.width),
    uint32(terminal.height),
    string(terminal.modes),
  ]);
}

export function decodeWindowChange(data: Uint8Array): TerminalSize | undefined {
  const reader = new Reader(data);
  return whole(reader, size(reader));
}

export function encodeWindowChange(change: TerminalSize): Uint8Array {
  return concat([uint32(change.columns), uint32(change.rows), uint32(change.width), uint32(change.height)]);
}

export function decodeEnvironment(
  data: Uint8Array,
): { readonly name: string; readonly value: string } | undefined {
  const reader = new Reader(data);
  return whole(reader, {
    name: reader.text(LIMITS.ssh.environmentValue),
    value: reader.text(LIMITS.ssh.environmentValue),
  });
}

/** The single string of `exec`, `subsystem` and `signal`, as bytes. */
export function decodeSingleString(data: Uint8Array): Uint8Array | undefined {
  const reader = new Reader(data);
  return whole(reader, reader.bytes());
}

/** What a `direct-tcpip` or `forwarded-tcpip` channel connects (RFC 4254 section 7.2). */
export type TcpipChannel = {
  readonly host: string;
  readonly port: number;
  readonly originHost: string;
  readonly originPort: number;
};

export function decodeTcpipChannel(data: Uint8Array): TcpipChannel | undefined {
  const reader = new Reader(data);
  const limit = LIMITS.ssh.forwardHost;
  return whole(reader, {
    host: reader.text(limit),
    port: reader.uint32(),
    originHost: reader.text(limit),
    originPort: reader.uint32(),
  });
}

export function encodeTcpipChannel(target: TcpipChannel): Uint8Array {
  return concat([
    string(target.host),
    uint32(target.port),
    string(target.originHost),
    uint32(target.originPort),
  ]);
}

/** `tcpip-forward` and `cancel-tcpip-forward` (RFC 4254 section 7.1). */
export function decodeTcpipForward(
  data: Uint8Array,
): { readonly host: string; readonly port: number } | undefined {
  const reader = new Reader(data);
  return whole(reader, { host: reader.text(LIMITS.ssh.forwardHost), port: reader.uint32() });
}

export function encodeTcpipForward(host: string, port: number): Uint8Array {
  return concat([string(host), uint32(port)]);
}

export type ExitSignal = { readonly signal: string; readonly coreDumped: boolean; readonly message: string };

export function decodeExitStatus(data: Uint8Array): number | undefined {
  const reader = new Reader(data);
  return whole(reader, reader.uint32());
}

export function decodeExitSignal(data: Uint8Array): ExitSignal | undefined {
  const reader = new Reader(data);
  const exit = { signal: reader.text(64), coreDumped: reader.boolean(), message: reader.text(1024) };
  reader.bytes();
  return whole(reader, exit);
}

export function encodeExitSignal(exit: ExitSignal): Uint8Array {
  return concat([string(exit.signal), boolean(exit.coreDumped), string(exit.message), string("")]);
}

/**
 * The few messages of the protocol that the connector itself speaks: startup, authentication, cancel, and a
 * simple query for the catalogue (PostgreSQL docs 54.7). Once a session is open its bytes pass unread.
 */
import { readUint32, writeUint32 } from "../../../wire/bytes.ts";
import { type Result, err, ok } from "../../../wire/result.ts";

export type BackendMessage = { readonly type: string; readonly body: Buffer };

const PROTOCOL_3_0 = 196_608;
const SSL_REQUEST = 80_877_103;
const CANCEL_REQUEST = 80_877_102;

export function sslRequest(): Buffer {
  return untyped([int32(SSL_REQUEST)]);
}

export function cancelRequest(processId: number, secretKey: Uint8Array): Buffer {
  return untyped([int32(CANCEL_REQUEST), int32(processId), secretKey]);
}

/** Values hold no NUL: the caller has checked. */
export function startupMessage(parameters: readonly (readonly [string, string])[]): Buffer {
  const parts: Uint8Array[] = [int32(PROTOCOL_3_0)];
  for (const [name, value] of parameters) parts.push(cString(name), cString(value));
  parts.push(Buffer.alloc(1));
  return untyped(parts);
}

export function passwordMessage(password: string): Buffer {
  return typed("p", [cString(password)]);
}

export function saslInitialResponse(mechanism: string, response: string): Buffer {
  const bytes = Buffer.from(response, "utf8");
  return typed("p", [cString(mechanism), int32(bytes.length), bytes]);
}

export function saslResponse(response: string): Buffer {
  return typed("p", [Buffer.from(response, "utf8")]);
}

export function query(sql: string): Buffer {
  return typed("Q", [cString(sql)]);
}

export function terminate(): Buffer {
  return typed("X", []);
}

function int32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  writeUint32(bytes, 0, value);
  return bytes;
}

function cString(text: string): Buffer {
  return Buffer.from(`${text}\0`, "utf8");
}

function untyped(parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([int32(body.length + 4), body]);
}

function typed(type: string, parts: readonly Uint8Array[]): Buffer {
  return Buffer.concat([Buffer.from(type, "latin1"), untyped(parts)]);
}

/**
 * Takes whole messages off the front of a byte stream. `limit` bounds the declared length before a byte of the
 * body is waited for.
 */
export class MessageFramer {
  #pending: Buffer = Buffer.alloc(0);
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  push(bytes: Buffer): void {
    this.#pending = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
  }

  /** The next message, undefined when it is not all there yet, or why the stream is not the protocol. */
  next(): Result<BackendMessage | undefined, string> {
    if (this.#pending.length < 5) return ok(undefined);
    const length = readUint32(this.#pending, 1);
    if (length < 4) return err("the server sent a message with an impossible length");
    if (length > this.#limit)
      return err(`the server sent a message of ${length} bytes where at most ${this.#limit} can be`);
    if (this.#pending.length < length + 1) return ok(undefined);
    const type = String.fromCharCode(this.#pending[0] ?? 0);
    const body = this.#pending.subarray(5, length + 1);
    this.#pending = this.#pending.subarray(length + 1);
    return ok({ type, body });
  }

  /** Bytes that have arrived and are no whole message. */
  rest(): Buffer {
    const rest = this.#pending;
    this.#pending = Buffer.alloc(0);
    return rest;
  }
}

/** Fields of ErrorResponse and NoticeResponse by their letter (PostgreSQL docs 54.8). */
export function errorFields(body: Buffer): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  let at = 0;
  while (at < body.length && body[at] !== 0) {
    const end = body.indexOf(0, at + 1);
    if (end < 0) break;
    fields.set(String.fromCharCode(body[at] ?? 0), body.toString("utf8", at + 1, end));
    at = end + 1;
  }
  return fields;
}

/** Two NUL-terminated strings and nothing else (ParameterStatus). */
export function twoStrings(body: Buffer): [string, string] | undefined {
  const first = body.indexOf(0);
  const second = first < 0 ? -1 : body.indexOf(0, first + 1);
  if (second !== body.length - 1 || second < 0) return undefined;
  return [body.toString("utf8", 0, first), body.toString("utf8", first + 1, second)];
}

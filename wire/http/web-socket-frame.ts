/**
 * Messages of a WebSocket on a channel of the tunnel, in both directions:
 *
 *   byte    kind: 1 text, 2 binary, 3 close
 *   uint32  length of the payload
 *   rest    payload; of a close: uint16 code, then the reason as UTF-8 (RFC 6455 section 5.5.1)
 */
import { concat, fromUtf8, readUint32, utf8, writeUint32 } from "../bytes.ts";
import { LIMITS } from "../limits.ts";
import { type Result, err, ok } from "../result.ts";

export type WebSocketMessage =
  | { readonly kind: "text" | "binary"; readonly bytes: Uint8Array }
  | { readonly kind: "close"; readonly code: number; readonly reason: string };

const KINDS = { text: 1, binary: 2, close: 3 } as const;
const HEADER = 5;

export function encodeWebSocketMessage(message: WebSocketMessage): Uint8Array {
  const payload = message.kind === "close" ? encodeClose(message.code, message.reason) : message.bytes;
  const bytes = new Uint8Array(HEADER + payload.length);
  bytes[0] = KINDS[message.kind];
  writeUint32(bytes, 1, payload.length);
  bytes.set(payload, HEADER);
  return bytes;
}

function encodeClose(code: number, reason: string): Uint8Array {
  return concat([Uint8Array.of(code >> 8, code & 0xff), utf8(reason)]);
}

/** Puts messages together from the channel's bytes, however they were cut. */
export class WebSocketReader {
  #pending: Uint8Array = new Uint8Array();

  /** Messages that are whole now. `over_limit`, `malformed`: the channel is of no use any more. */
  push(bytes: Uint8Array): Result<WebSocketMessage[], "over_limit" | "malformed"> {
    this.#pending = this.#pending.length === 0 ? bytes : concat([this.#pending, bytes]);
    const messages: WebSocketMessage[] = [];
    while (this.#pending.length >= HEADER) {
      const length = readUint32(this.#pending, 1);
      if (length > LIMITS.http.webSocketMessage) return err("over_limit");
      if (this.#pending.length < HEADER + length) break;
      const payload = this.#pending.slice(HEADER, HEADER + length);
      const message = decode(this.#pending[0], payload);
      if (message === undefined) return err("malformed");
      messages.push(message);
      this.#pending = this.#pending.subarray(HEADER + length);
    }
    // A copy, so that a small rest does not keep a large frame.
    this.#pending = this.#pending.slice();
    return ok(messages);
  }
}

function decode(kind: number | undefined, payload: Uint8Array): WebSocketMessage | undefined {
  switch (kind) {
    case KINDS.text:
      return fromUtf8(payload) === undefined ? undefined : { kind: "text", bytes: payload };
    case KINDS.binary:
      return { kind: "binary", bytes: payload };
    case KINDS.close: {
      const [high, low] = payload;
      const reason = fromUtf8(payload.subarray(2));
      if (high === undefined || low === undefined || reason === undefined) return undefined;
      return { kind: "close", code: (high << 8) | low, reason };
    }
    default:
      return undefined;
  }
}

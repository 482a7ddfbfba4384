/** Builds and reads protocol messages, independently of the code under test (PostgreSQL docs 54.7). */

const z = (text: string) => Buffer.from(`${text}\0`);
const i16 = (value: number) => {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value & 0xffff);
  return bytes;
};
export const i32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value | 0);
  return bytes;
};

export function message(type: string, ...parts: Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from(type), i32(body.length + 4), body]);
}

export function startup(parameters: readonly (readonly [string, string])[], version = 3 << 16): Buffer {
  const body = Buffer.concat([i32(version), ...parameters.flat().map(z), Buffer.from([0])]);
  return Buffer.concat([i32(body.length + 4), body]);
}

/** What a client sends. */
export const f = {
  query: (sql: string) => message("Q", z(sql)),
  parse: (sql: string, name = "") => message("P", z(name), z(sql), i16(0)),
  bind: (values: (string | Uint8Array | null)[] = [], statement = "", portal = "") =>
    message(
      "B",
      z(portal),
      z(statement),
      i16(0),
      i16(values.length),
      ...values.flatMap((value) => {
        if (value === null) return [i32(-1)];
        const bytes = typeof value === "string" ? Buffer.from(value) : value;
        return [i32(bytes.length), bytes];
      }),
      i16(0),
    ),
  describeStatement: (name = "") => message("D", Buffer.from("S"), z(name)),
  describePortal: (name = "") => message("D", Buffer.from("P"), z(name)),
  execute: (maxRows = 0, portal = "") => message("E", z(portal), i32(maxRows)),
  closeStatement: (name = "") => message("C", Buffer.from("S"), z(name)),
  closePortal: (name = "") => message("C", Buffer.from("P"), z(name)),
  sync: message("S"),
  flush: message("H"),
  copyData: (text: string) => message("d", Buffer.from(text)),
  copyDone: message("c"),
  copyFail: (why: string) => message("f", z(why)),
  terminate: message("X"),
  functionCall: message("F", i32(1), i16(0), i16(0), i16(0)),
};

export type Column = { name: string; table?: number; attribute?: number; format?: number };

/** What a server sends. */
export const b = {
  parseComplete: message("1"),
  bindComplete: message("2"),
  closeComplete: message("3"),
  noData: message("n"),
  parameterDescription: message("t", i16(0)),
  rowDescription: (...columns: Column[]) =>
    message(
      "T",
      i16(columns.length),
      ...columns.flatMap(({ name, table = 0, attribute = 0, format = 0 }) => [
        z(name),
        i32(table),
        i16(attribute),
        i32(25),
        i16(-1),
        i32(-1),
        i16(format),
      ]),
    ),
  dataRow: (...values: (string | Uint8Array)[]) =>
    message(
      "D",
      i16(values.length),
      ...values.flatMap((value) => {
        const bytes = typeof value === "string" ? Buffer.from(value) : value;
        return [i32(bytes.length), bytes];
      }),
    ),
  complete: (tag: string) => message("C", z(tag)),
  empty: message("I"),
  suspended: message("s"),
  copyIn: message("G", Buffer.from([0]), i16(1), i16(0)),
  copyOut: message("H", Buffer.from([0]), i16(1), i16(0)),
  copyBoth: message("W", Buffer.from([0]), i16(0)),
  copyData: (text: string) => message("d", Buffer.from(text)),
  copyDone: message("c"),
  ready: (status: "I" | "T" | "E" = "I") => message("Z", Buffer.from(status)),
  error: (fields: Record<string, string> = {}) =>
    report("E", { S: "ERROR", V: "ERROR", C: "42601", M: "syntax error", ...fields }),
  notice: (fields: Record<string, string> = {}) =>
    report("N", { S: "NOTICE", V: "NOTICE", C: "00000", M: "notice", ...fields }),
  status: (name: string, value: string) => message("S", z(name), z(value)),
  notification: (channel: string, payload: string) => message("A", i32(7), z(channel), z(payload)),
};

function report(type: string, fields: Record<string, string>): Buffer {
  const parts = Object.entries(fields).map(([code, value]) => Buffer.concat([Buffer.from(code), z(value)]));
  return message(type, ...parts, Buffer.from([0]));
}

export type Message = { readonly type: string; readonly body: Buffer };

/** Whole messages in `bytes`; throws when something is left over. */
export function split(bytes: Uint8Array): Message[] {
  const buffer = Buffer.from(bytes);
  const messages: Message[] = [];
  for (let at = 0; at < buffer.length;) {
    const end = at + 1 + buffer.readUInt32BE(at + 1);
    if (end > buffer.length) throw new Error("a message is cut off");
    messages.push({ type: buffer.toString("latin1", at, at + 1), body: buffer.subarray(at + 5, end) });
    at = end;
  }
  return messages;
}

export function letters(bytes: Uint8Array): string {
  return split(bytes)
    .map(({ type }) => type)
    .join("");
}

/** Fields of an ErrorResponse or NoticeResponse by their letters. */
export function fields(body: Buffer): Record<string, string> {
  const found: Record<string, string> = {};
  for (const part of body.toString().split("\0")) if (part !== "") found[part.charAt(0)] = part.slice(1);
  return found;
}

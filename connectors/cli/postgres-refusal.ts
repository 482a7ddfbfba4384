/**
 * Telling a PostgreSQL client why it gets no session. A dropped connection would say "server closed the
 * connection unexpectedly"; a FATAL ErrorResponse says what is wrong (PostgreSQL docs 54.2.1, 54.7, 54.8).
 */
import type { Readable, Writable } from "node:stream";
import { concat, readUint32, utf8, writeUint32 } from "../../wire/bytes.ts";
import { LIMITS } from "../../wire/limits.ts";
import { EXIT, REFUSALS, isRefusalCode } from "../../wire/refusals.ts";
import type { Failure } from "./failure.ts";

const SSL_REQUEST = 80877103;
const GSSENC_REQUEST = 80877104;
const CANCEL_REQUEST = 80877102;
const PATIENCE_MS = 5000;

/** ErrorResponse with severity FATAL. */
export function fatalResponse(failure: Failure): Uint8Array {
  const sqlstate =
    failure.code !== undefined && isRefusalCode(failure.code)
      ? REFUSALS[failure.code].sqlstate
      : failure.exit === EXIT.unauthenticated
        ? "28000"
        : "08006";
  const pairs: [string, string | undefined][] = [
    ["S", "FATAL"],
    ["V", "FATAL"],
    ["C", sqlstate],
    ["M", failure.message],
    ["H", failure.hint],
  ];
  const body = concat([
    ...pairs.flatMap(([kind, text]) =>
      text === undefined ? [] : [utf8(`${kind}${text.replace(/\0/g, "")}\0`)],
    ),
    new Uint8Array(1),
  ]);
  const message = new Uint8Array(5 + body.length);
  message[0] = 0x45; // E
  writeUint32(message, 1, 4 + body.length);
  message.set(body, 5);
  return message;
}

/** Reads up to the StartupMessage, answers encryption requests with N, then refuses and ends the stream. */
export async function refusePostgresStartup(
  readable: Readable,
  writable: Writable,
  failure: Failure,
): Promise<void> {
  const answer = await new Promise<"refuse" | "drop">((resolve) => {
    let received: Uint8Array = new Uint8Array(0);
    const timer = setTimeout(() => resolve("drop"), PATIENCE_MS);
    const settle = (how: "refuse" | "drop"): void => {
      clearTimeout(timer);
      resolve(how);
    };
    readable.on("data", (bytes: Uint8Array) => {
      received = concat([received, bytes]);
      for (;;) {
        if (received.length < 8) return;
        const length = readUint32(received, 0);
        if (length < 8 || length > LIMITS.postgres.startup) return settle("drop");
        const code = readUint32(received, 4);
        if (length === 8 && (code === SSL_REQUEST || code === GSSENC_REQUEST)) {
          received = received.subarray(8);
          writable.write("N");
          continue;
        }
        // A CancelRequest is never answered.
        if (code === CANCEL_REQUEST) return settle("drop");
        if (received.length >= length) settle("refuse");
        return;
      }
    });
    readable.once("end", () => settle("drop"));
    readable.once("error", () => settle("drop"));
    readable.once("close", () => settle("drop"));
  });
  if (answer === "refuse") writable.write(fatalResponse(failure));
  writable.end();
}

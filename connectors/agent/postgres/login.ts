/**
 * Startup and authentication on a fresh connection, until the server is ready for queries
 * (PostgreSQL docs 54.2.1), as protocol 3.0: the gateway gives clients cancel keys of its own.
 */
import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { readUint32 } from "../../../wire/bytes.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import { networkReason } from "../../lib/web-socket.ts";
import { type AuthenticationState, authenticate } from "./authentication.ts";
import { type Connection, endPointBinding } from "./connect.ts";
import { type BackendMessage, MessageFramer, errorFields, startupMessage, twoStrings } from "./messages.ts";

export type LoginOptions = {
  readonly user: string;
  readonly database: string;
  readonly password: string | undefined;
  /** Startup parameters beside user and database. Ours, FORCED, win over them. */
  readonly parameters: Readonly<Record<string, string>>;
  readonly derive: (password: string, salt: Uint8Array, iterations: number) => Promise<Uint8Array>;
};

export type CancelKey = { readonly processId: number; readonly secretKey: Uint8Array };

export type LoggedIn = {
  /** ParameterStatus values, the last of each name, in the order first seen. */
  readonly parameters: readonly (readonly [string, string])[];
  readonly cancelKey: CancelKey | undefined;
  /** What the server sent after ReadyForQuery already; comes before the rest of the stream. */
  readonly rest: Buffer;
};

export type LoginFailure =
  | { readonly kind: "refused"; readonly sqlstate: string; readonly detail: string }
  | { readonly kind: "protocol"; readonly detail: string }
  | { readonly kind: "network"; readonly detail: string };

/** What decides how bytes are read: the gateway's analysis of SQL assumes both. */
const FORCED: readonly (readonly [string, string])[] = [
  ["client_encoding", "UTF8"],
  ["standard_conforming_strings", "on"],
];

/** Names that a StartupMessage gives a meaning of its own (ProcessStartupPacket in backend_startup.c). */
const RESERVED = new Set(["user", "database", "replication"]);

/** One message of a server that has not let us in yet. */
const MAX_MESSAGE = 64 << 10;
/** All of them together. */
const MAX_STARTUP_BYTES = 1 << 20;
/** All ParameterStatus values together: they travel in one OPENED frame. */
const MAX_PARAMETERS = LIMITS.tunnel.json - (2 << 10);

/** Why these startup parameters cannot be sent, or undefined. The gateway has checked; this is the second line. */
export function parameterProblem(parameters: Readonly<Record<string, string>>): string | undefined {
  let length = 0;
  for (const [name, value] of Object.entries(parameters)) {
    const lower = name.toLowerCase();
    if (name === "" || name.includes("\0") || value.includes("\0")) return "a startup parameter is malformed";
    if (RESERVED.has(lower) || lower.startsWith("_pq_."))
      return `startup parameter ${lower} is not the client's to set`;
    length += Buffer.byteLength(name) + Buffer.byteLength(value) + 2;
  }
  return length > LIMITS.postgres.startup - 1024 ? "the startup parameters are too long" : undefined;
}

/** Logs in. On failure the caller ends the connection. */
export async function login(
  connection: Connection,
  options: LoginOptions,
  signal: AbortSignal,
): Promise<Result<LoggedIn, LoginFailure>> {
  const { stream } = connection;
  const forced = new Set(FORCED.map(([name]) => name));
  const given = Object.entries(options.parameters).filter(([name]) => !forced.has(name.toLowerCase()));
  stream.write(startupMessage([["user", options.user], ["database", options.database], ...given, ...FORCED]));
  const reader = new MessageReader(stream, signal);
  const endPoint = connection.certificate === undefined ? undefined : endPointBinding(connection.certificate);
  const context = {
    user: options.user,
    password: options.password,
    trusted: connection.verified || connection.reached.kind === "local",
    endPoint,
    nonce: randomBytes(18),
    derive: options.derive,
  };
  let state: AuthenticationState = { phase: "start" };
  const parameters = new Map<string, string>();
  let cancelKey: CancelKey | undefined;
  for (;;) {
    const message = await reader.next();
    if (!message.ok) return message;
    const { type, body } = message.value;
    switch (type) {
      case "R": {
        const step = await authenticate(state, context, body);
        if (!step.ok) return err({ kind: "protocol", detail: step.error });
        state = step.value.state;
        if (step.value.reply !== undefined) stream.write(step.value.reply);
        break;
      }
      case "E": {
        const fields = errorFields(body);
        return err({
          kind: "refused",
          sqlstate: fields.get("C") ?? "",
          detail: (fields.get("M") ?? "no reason given").slice(0, 500),
        });
      }
      case "N":
        break;
      case "S":
      case "K":
      case "Z": {
        if (state.phase !== "done") return malformed("went on before authentication was done");
        if (type === "S") {
          const pair = twoStrings(body);
          if (pair === undefined) return malformed("sent a malformed ParameterStatus");
          parameters.set(pair[0], pair[1]);
        } else if (type === "K") {
          if (body.length !== 8) return malformed("sent a BackendKeyData of the wrong length");
          cancelKey = { processId: readUint32(body, 0), secretKey: Buffer.from(body.subarray(4)) };
        } else {
          if (body.toString("latin1") !== "I") return malformed("is not idle after the login");
          const problem = settingsProblem(parameters);
          if (problem !== undefined) return err({ kind: "protocol", detail: problem });
          return ok({ parameters: [...parameters], cancelKey, rest: reader.rest() });
        }
        break;
      }
      case "v":
        return malformed("does not speak protocol 3.0 as asked");
      default:
        return malformed("sent a message that is illegal during the login");
    }
  }
}

function malformed(what: string): Result<never, LoginFailure> {
  return err({ kind: "protocol", detail: `the server ${what}` });
}

function settingsProblem(parameters: ReadonlyMap<string, string>): string | undefined {
  for (const [name, wanted] of FORCED) {
    const value = parameters.get(name);
    // A pooler between us and the server may have dropped or overridden it.
    if (value !== wanted) return `the server did not accept ${name}=${wanted}`;
  }
  let length = 0;
  for (const [name, value] of parameters) length += JSON.stringify([name, value]).length * 2;
  return length > MAX_PARAMETERS ? "the server reported more parameters than can be passed on" : undefined;
}

/** Reads whole messages, never more than the ceilings, and leaves the stream paused in between. */
export class MessageReader {
  readonly #stream: Socket;
  readonly #signal: AbortSignal;
  readonly #framer: MessageFramer;
  readonly #maxBytes: number;
  #bytes = 0;

  constructor(
    stream: Socket,
    signal: AbortSignal,
    maxMessage: number = MAX_MESSAGE,
    maxBytes: number = MAX_STARTUP_BYTES,
  ) {
    this.#stream = stream;
    this.#signal = signal;
    this.#framer = new MessageFramer(maxMessage);
    this.#maxBytes = maxBytes;
  }

  async next(): Promise<Result<BackendMessage, LoginFailure>> {
    for (;;) {
      const message = this.#framer.next();
      if (!message.ok) return err({ kind: "protocol", detail: message.error });
      if (message.value !== undefined) return ok(message.value);
      const chunk = await this.#chunk();
      if (!chunk.ok) return err({ kind: "network", detail: chunk.error });
      this.#bytes += chunk.value.length;
      if (this.#bytes > this.#maxBytes)
        return err({ kind: "protocol", detail: `the server sent more than ${this.#maxBytes} bytes` });
      this.#framer.push(chunk.value);
    }
  }

  /** Bytes that have been read off the stream already. */
  push(bytes: Buffer): void {
    if (bytes.length > 0) this.#framer.push(bytes);
  }

  rest(): Buffer {
    return this.#framer.rest();
  }

  #chunk(): Promise<Result<Buffer, string>> {
    const stream = this.#stream;
    const signal = this.#signal;
    return new Promise((resolve) => {
      const settle = (result: Result<Buffer, string>) => {
        stream.pause();
        stream.removeListener("data", data);
        stream.removeListener("end", ended);
        stream.removeListener("close", ended);
        stream.removeListener("error", failed);
        signal.removeEventListener("abort", abort);
        resolve(result);
      };
      const data = (bytes: Buffer) => settle(ok(bytes));
      const ended = () => settle(err("the server closed the connection"));
      const failed = (error: Error) => settle(err(networkReason(error)));
      const abort = () => settle(err("no answer in time"));
      if (signal.aborted) return abort();
      if (stream.destroyed || stream.readableEnded) return ended();
      stream.once("end", ended);
      stream.once("close", ended);
      stream.once("error", failed);
      signal.addEventListener("abort", abort, { once: true });
      stream.on("data", data);
      stream.resume();
    });
  }
}

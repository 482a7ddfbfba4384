/**
 * One native session: a logged-in server connection joined to a channel as a byte pipe, with back-pressure both
 * ways. The bytes are the gateway's to read; here they only pass.
 */
import type { PostgresOpened } from "../../../wire/control.ts";
import { DONE, type CloseReason, type TunnelChannel } from "../../lib/tunnel-socket.ts";
import type { Log } from "../log.ts";
import { cancel } from "./cancel.ts";
import { type Connection, type Target, reset } from "./connect.ts";
import type { LoggedIn } from "./login.ts";
import { terminate } from "./messages.ts";

export type OpenSession = {
  readonly target: Target;
  readonly database: string;
  readonly connection: Connection;
  readonly login: LoggedIn;
};

/** How long the server may take to finish and end its side once the client has said Terminate. */
const ORDERLY_END = 2_000;
const TERMINATE = terminate();

/** Joins the two; resolves when the server connection is gone. */
export function relay(channel: TunnelChannel, session: OpenSession, log: Log): Promise<void> {
  const { stream } = session.connection;
  const canceller = new Canceller(session, log);
  let orderlyEnd: NodeJS.Timeout | undefined;
  let remoteClose: CloseReason | undefined;
  const toServer = new Tail();
  let serverSaid: Error | undefined;

  return new Promise((resolve) => {
    stream.on("error", (error) => (serverSaid ??= error));
    stream.once("end", () => ended());
    stream.once("close", () => {
      clearTimeout(orderlyEnd);
      ended();
      log.info("session closed", {
        reason:
          toServer.saysTerminate() || channel.readableEnded
            ? DONE.code
            : (remoteClose?.code ?? "upstream_lost"),
        bytesFromServer: session.connection.raw.bytesRead,
        bytesToServer: session.connection.raw.bytesWritten,
      });
      resolve();
    });

    const opened: PostgresOpened = {
      parameters: session.login.parameters.map(([name, value]): [string, string] => [name, value]),
      database: session.database,
    };
    channel.accept(opened);
    if (session.login.rest.length > 0) channel.write(session.login.rest);
    stream.pipe(channel, { end: false });
    channel.on("data", (bytes: Buffer) => toServer.push(bytes));
    // Ends the server's side after the gateway's END.
    channel.pipe(stream);
    channel.listen({
      onSignal: (payload) => {
        if (isCancel(payload)) canceller.request();
      },
      onRemoteClose: (reason) => {
        remoteClose = reason;
        // The client has ended the session in the protocol's own way: what it sent before is still to be run.
        if (!toServer.saysTerminate()) return abandon();
        orderlyEnd = setTimeout(abandon, ORDERLY_END);
        channel.once("close", () => stream.end());
      },
    });

    /** The server will send nothing more. */
    function ended(): void {
      if (channel.writableEnded || channel.destroyed) return;
      if (channel.readableEnded || toServer.saysTerminate()) return channel.finish(DONE);
      if (serverSaid !== undefined) log.warn("upstream lost", { reason: serverSaid.message });
      channel.finish({ code: "upstream_lost", message: "the database closed the connection" });
    }

    /**
     * Nobody is there for the answer. The reset comes first: the server then fails at whatever it would run
     * next, and the cancel ends what it runs now.
     */
    function abandon(): void {
      clearTimeout(orderlyEnd);
      if (stream.destroyed) return;
      reset(session.connection);
      canceller.request();
    }
  });
}

/** The last bytes of what went to the server. */
class Tail {
  #bytes: Buffer = Buffer.alloc(0);

  push(bytes: Buffer): void {
    this.#bytes = Buffer.from(
      bytes.length >= TERMINATE.length
        ? bytes.subarray(-TERMINATE.length)
        : Buffer.concat([this.#bytes, bytes]).subarray(-TERMINATE.length),
    );
  }

  /**
   * Whether they are a Terminate message. Bytes inside another message could look like one; that costs no more
   * than ORDERLY_END before the session is cut.
   */
  saysTerminate(): boolean {
    return this.#bytes.equals(TERMINATE);
  }
}

function isCancel(payload: unknown): boolean {
  return typeof payload === "object" && payload !== null && (payload as { type?: unknown }).type === "cancel";
}

/** At most one cancel on its way, and one more after it: signals cost the gateway nothing, connections do. */
class Canceller {
  readonly #session: OpenSession;
  readonly #log: Log;
  #running = false;
  #again = false;

  constructor(session: OpenSession, log: Log) {
    this.#session = session;
    this.#log = log;
  }

  request(): void {
    const key = this.#session.login.cancelKey;
    if (key === undefined) {
      this.#log.warn("cannot cancel", { reason: "the server gave no cancel key" });
      return;
    }
    if (this.#running) {
      this.#again = true;
      return;
    }
    this.#running = true;
    void cancel(this.#session.target, this.#session.connection.reached, key).then((result) => {
      this.#running = false;
      if (result.ok) this.#log.info("cancel sent");
      else this.#log.warn("cancel failed", { reason: result.error });
      if (!this.#again) return;
      this.#again = false;
      this.request();
    });
  }
}

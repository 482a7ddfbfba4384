/**
 * Dialling out to the gateway: one WebSocket, with the gateway's refusal read as a value when it says no.
 */
import { WebSocket } from "ws";
import { z } from "zod";
import { WEBSOCKET_PROTOCOL } from "../../wire/control.ts";
import { LIMITS } from "../../wire/limits.ts";
import { type RefusalCode, isRefusalCode } from "../../wire/refusals.ts";
import { type Result, err, ok } from "../../wire/result.ts";

export type DialFailure = {
  /** `unreachable`: no HTTP answer at all. `refused`: the gateway answered, but not with an upgrade. */
  readonly reason: "unreachable" | "refused";
  readonly status?: number;
  /** The gateway's refusal code, where its answer was a problem document (docs/api.md). */
  readonly code?: RefusalCode;
  /** Lower case, no full stop, free of secrets. */
  readonly message: string;
  readonly hint?: string;
  /** Seconds from Retry-After. */
  readonly retryAfter?: number;
};

export type DialOptions = {
  readonly headers?: Readonly<Record<string, string>>;
  /** Milliseconds until the upgrade must be done. */
  readonly timeout?: number;
  readonly signal?: AbortSignal;
};

const Problem = z.object({
  title: z.string().max(4000).optional(),
  code: z.string().max(100).optional(),
  hint: z.string().max(4000).optional(),
});

const PROBLEM_BYTES = 64 << 10;
const DEFAULT_TIMEOUT = 15_000;

/** `http(s)` address of the gateway and a path to the `ws(s)` address of that path. */
export function webSocketUrl(gateway: string, path: string): string {
  const url = new URL(gateway);
  url.protocol = url.protocol === "https:" || url.protocol === "wss:" ? "wss:" : "ws:";
  url.pathname = url.pathname.replace(/\/$/, "") + path;
  return url.href;
}

/**
 * Opens a WebSocket. It comes back paused, so that nothing which arrives at once is lost: whoever attaches the
 * message listener (TunnelSocket does) calls `resume()`.
 */
export function dial(url: string, options: DialOptions = {}): Promise<Result<WebSocket, DialFailure>> {
  return new Promise((resolve) => {
    let settled = false;
    const socket = new WebSocket(url, WEBSOCKET_PROTOCOL, {
      ...(options.headers === undefined ? {} : { headers: options.headers }),
      handshakeTimeout: options.timeout ?? DEFAULT_TIMEOUT,
      maxPayload: LIMITS.tunnel.frame,
      perMessageDeflate: false,
      ...(isPrivate(url) ? { generateMask: noMask } : {}),
      followRedirects: false,
    });
    const abort = () => finish(err({ reason: "unreachable", message: "the attempt was given up" }));
    const finish = (result: Result<WebSocket, DialFailure>) => {
      if (settled) return;
      settled = true;
      options.signal?.removeEventListener("abort", abort);
      socket.removeListener("error", onError);
      if (!result.ok) {
        // Terminating a socket that is still connecting makes `ws` emit one more error.
        socket.on("error", () => undefined);
        socket.terminate();
      }
      resolve(result);
    };
    const onError = (error: Error) => finish(err({ reason: "unreachable", message: networkReason(error) }));
    socket.once("open", () => {
      socket.pause();
      finish(ok(socket));
    });
    socket.on("error", onError);
    socket.once("unexpected-response", (request, response) => {
      const chunks: Buffer[] = [];
      let length = 0;
      const answer = () => {
        request.destroy();
        finish(
          err(refused(response.statusCode ?? 0, Buffer.concat(chunks), response.headers["retry-after"])),
        );
      };
      response.setTimeout(5000, answer);
      response.on("data", (chunk: Buffer) => {
        length += chunk.length;
        if (length <= PROBLEM_BYTES) chunks.push(chunk);
        else answer();
      });
      response.once("end", answer);
      response.once("error", answer);
    });
    if (options.signal?.aborted === true) abort();
    else options.signal?.addEventListener("abort", abort, { once: true });
  });
}

/** Whether nobody can read along between us and the other end: TLS, or this machine. */
function isPrivate(url: string): boolean {
  const { protocol, hostname } = new URL(url);
  return protocol === "wss:" || hostname === "127.0.0.1" || hostname === "[::1]" || hostname === "localhost";
}

/**
 * Masks keep proxies that read along from taking a client's bytes for HTTP (RFC 6455 section 10.3). Where there
 * can be none, a mask of zeros spares a copy of everything that is sent, a third of a connector's work.
 */
function noMask(mask: Buffer): void {
  mask.fill(0);
}

function refused(status: number, body: Buffer, retryAfter: string | undefined): DialFailure {
  const seconds =
    retryAfter !== undefined && /^\d{1,5}$/.test(retryAfter) ? { retryAfter: Number(retryAfter) } : {};
  const problem = parseProblem(body);
  return {
    reason: "refused",
    status,
    message: problem?.title ?? `the gateway answered with HTTP status ${status}`,
    ...(problem?.code !== undefined && isRefusalCode(problem.code) ? { code: problem.code } : {}),
    ...(problem?.hint === undefined ? {} : { hint: problem.hint }),
    ...seconds,
  };
}

function parseProblem(body: Buffer): z.infer<typeof Problem> | undefined {
  try {
    return Problem.safeParse(JSON.parse(body.toString("utf8"))).data;
  } catch {
    return undefined;
  }
}

/** What the network said, in words: the system's code where there is one (`ECONNREFUSED`), else its message. */
export function networkReason(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) {
    return [...new Set(error.errors.map((each) => networkReason(each)))].join("; ");
  }
  if (!(error instanceof Error)) return "unknown network failure";
  const code = (error as NodeJS.ErrnoException).code;
  switch (code) {
    case "ECONNREFUSED":
      return "connection refused";
    case "ENOTFOUND":
      return "host name not found";
    case "EAI_AGAIN":
      return "host name could not be looked up";
    case "ETIMEDOUT":
      return "connection timed out";
    case "ECONNRESET":
      return "connection reset";
    case "EHOSTUNREACH":
      return "host unreachable";
    case "ENETUNREACH":
      return "network unreachable";
    default:
      return error.message;
  }
}

/** What a command that did not do its work says, and the exit code it gives (DESIGN section 10). */
import { EXIT, REFUSALS, isRefusalCode } from "../../wire/refusals.ts";
import type { Err } from "../../wire/result.ts";

export type Failure = {
  /** One of EXIT, or a wrapped client's own code. */
  readonly exit: number;
  /** Lower case, no full stop, no `sally: ` in front. */
  readonly message: string;
  /** What to do about it; printed on a line of its own. */
  readonly hint?: string;
  /** The gateway's refusal code, where it was the gateway that refused. */
  readonly code?: string;
  /** The approval that this is about. */
  readonly approval?: string;
  /** More lines, such as one for each mistake in a file. */
  readonly details?: readonly string[];
};

export function fail(
  exit: number,
  message: string,
  more: Omit<Failure, "exit" | "message"> = {},
): Err<Failure> {
  return { ok: false, error: { exit, message, ...more } };
}

/** A command line that cannot be meant: exit code 2. */
export function usage(message: string, hint?: string): Err<Failure> {
  return fail(EXIT.usage, message, hint === undefined ? {} : { hint });
}

/** The exit code for a refusal code; one that this version does not know counts as a plain failure. */
export function exitFor(code: string): number {
  return isRefusalCode(code) ? REFUSALS[code].exit : EXIT.failed;
}

/** A short, lower-case reason out of whatever a system call threw. */
export function reasonOf(cause: unknown): string {
  const known: Record<string, string> = {
    ECONNREFUSED: "connection refused",
    ECONNRESET: "connection reset",
    ENOTFOUND: "name not found",
    EAI_AGAIN: "name could not be looked up",
    ETIMEDOUT: "timed out",
    UND_ERR_CONNECT_TIMEOUT: "timed out",
    EHOSTUNREACH: "host unreachable",
    ENETUNREACH: "network unreachable",
    EADDRINUSE: "the port is in use",
    EACCES: "permission denied",
    ENOENT: "no such file or directory",
    EISDIR: "it is a directory",
    ENOTDIR: "not a directory",
    CERT_HAS_EXPIRED: "its certificate has expired",
    DEPTH_ZERO_SELF_SIGNED_CERT: "its certificate is self-signed",
    SELF_SIGNED_CERT_IN_CHAIN: "its certificate is not trusted",
    UNABLE_TO_VERIFY_LEAF_SIGNATURE: "its certificate is not trusted",
    ERR_TLS_CERT_ALTNAME_INVALID: "its certificate is for another name",
  };
  // fetch hides the reason in `cause`, and happy eyeballs hides several in `errors`.
  for (let error = cause, depth = 0; error instanceof Error && depth < 5; depth++) {
    const code = (error as { code?: unknown }).code;
    if (typeof code === "string" && known[code] !== undefined) return known[code];
    if (error.name === "TimeoutError") return "timed out";
    const inner: unknown = error instanceof AggregateError ? error.errors[0] : error.cause;
    if (inner === undefined) return error.message.toLowerCase();
    error = inner;
  }
  return String(cause).toLowerCase();
}

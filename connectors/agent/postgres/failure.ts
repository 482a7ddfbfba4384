/**
 * What the client may know of an upstream that could not be opened, and what the connector's log says of it.
 * The client learns nothing of addresses, users, passwords or certificates.
 */
import type { CloseReason } from "../../lib/tunnel-socket.ts";
import type { ConnectFailure } from "./connect.ts";
import type { LoginFailure } from "./login.ts";
import { openFailure } from "../open-failure.ts";

export type OpenFailure =
  | { readonly step: "credential"; readonly detail: string }
  | ConnectFailure
  | ({ readonly step: "login" } & LoginFailure);

/** SQLSTATEs of a refused login that tell the client something it can act on. */
const SAFE: Readonly<Record<string, string>> = {
  "53300": "the database has too many connections",
  "57P03": "the database is starting up, shutting down or recovering",
  "57P01": "the database is shutting down",
  "3D000": "the database that the connector's config names does not exist",
  "28000": "the database refused the connector's login",
  "28P01": "the database refused the connector's login",
};

export function closeReason(resource: string, failure: OpenFailure): CloseReason {
  switch (failure.step) {
    case "credential":
    case "network":
      return openFailure(failure.step, resource, "the database");
    case "tls":
      return {
        code: "upstream_unreachable",
        message: `the connector cannot establish TLS with the database of ${resource}`,
      };
    case "login":
      return { code: "upstream_login_failed", message: loginMessage(resource, failure) };
  }
}

function loginMessage(resource: string, failure: LoginFailure): string {
  if (failure.kind !== "refused") return `the connector could not log in to the database of ${resource}`;
  // Settings that the client itself sent: the server's words are about them.
  if (failure.sqlstate === "22023" || failure.sqlstate === "42704") return failure.detail.slice(0, 300);
  return SAFE[failure.sqlstate] ?? `the database refused the connector's login to ${resource}`;
}

/** Fields for the connector's log: which step failed and the server's or the system's own words. */
export function failureFields(failure: OpenFailure): Record<string, string> {
  if (failure.step === "login" && failure.kind === "refused") {
    return { step: failure.step, sqlstate: failure.sqlstate, reason: failure.detail };
  }
  return { step: failure.step, reason: failure.detail };
}

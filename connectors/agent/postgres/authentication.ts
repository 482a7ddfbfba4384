/**
 * What to answer to each Authentication message (PostgreSQL docs 54.2.1), as a machine without I/O.
 *
 *   start ── AuthenticationCleartextPassword / MD5Password ──► password ── AuthenticationOk ──► done
 *   start ── AuthenticationSASL ──► scramFirst ── SASLContinue ──► scramFinal ── SASLFinal ──► scramVerified
 *   scramVerified ── AuthenticationOk ──► done            start ── AuthenticationOk (trust, peer, cert) ──► done
 *
 * Whatever else arrives in a state is refused. AuthenticationOk before the server's SCRAM signature is checked
 * is refused: it would be a server that does not know the password.
 */
import { createHash } from "node:crypto";
import { readUint32 } from "../../../wire/bytes.ts";
import { type Result, assertNever, err, ok } from "../../../wire/result.ts";
import { passwordMessage, saslInitialResponse, saslResponse } from "./messages.ts";
import {
  type ChannelBinding,
  type ScramError,
  type ScramFirst,
  MAX_ITERATIONS,
  clientFinal,
  clientFirst,
  serverFirst,
  verifyServerFinal,
} from "./scram.ts";

export type AuthenticationState =
  | { readonly phase: "start" }
  | { readonly phase: "password" }
  | { readonly phase: "scramFirst"; readonly first: ScramFirst }
  | { readonly phase: "scramFinal"; readonly serverSignature: Uint8Array }
  | { readonly phase: "scramVerified" }
  | { readonly phase: "done" };

export type AuthenticationContext = {
  readonly user: string;
  readonly password: string | undefined;
  /** The connection is TLS and the server's certificate was checked, or it is a local socket. */
  readonly trusted: boolean;
  /** Binding data of the server's certificate; undefined without TLS or when the certificate allows none. */
  readonly endPoint: Uint8Array | undefined;
  /** 18 or more random bytes. */
  readonly nonce: Uint8Array;
  /** SaltedPassword (RFC 5802); may remember. */
  readonly derive: (password: string, salt: Uint8Array, iterations: number) => Promise<Uint8Array>;
};

export type AuthenticationStep = { readonly state: AuthenticationState; readonly reply?: Uint8Array };

/** Refusals are words for the connector's log, without secrets. */
type Step = Result<AuthenticationStep, string>;

const METHOD_NAMES: Readonly<Record<number, string>> = {
  2: "Kerberos V5",
  6: "SCM credentials",
  7: "GSSAPI",
  9: "SSPI",
};

/** One Authentication message ('R'); `body` starts with its int32 kind. */
export async function authenticate(
  state: AuthenticationState,
  context: AuthenticationContext,
  body: Buffer,
): Promise<Step> {
  if (body.length < 4) return err("the server sent a malformed Authentication message");
  const kind = readUint32(body, 0);
  const rest = body.subarray(4);
  switch (kind) {
    case 0:
      return authenticationOk(state, rest);
    case 3:
      return cleartext(state, context, rest);
    case 5:
      return md5(state, context, rest);
    case 10:
      return sasl(state, context, rest);
    case 11:
      return saslContinue(state, context, rest);
    case 12:
      return saslFinal(state, rest);
    default:
      return err(
        `the server asks for ${METHOD_NAMES[kind] ?? `authentication method ${kind}`}, which the connector does not speak`,
      );
  }
}

function authenticationOk(state: AuthenticationState, rest: Buffer): Step {
  if (rest.length !== 0) return err("the server sent a malformed AuthenticationOk");
  switch (state.phase) {
    case "start":
    case "password":
    case "scramVerified":
      return ok({ state: { phase: "done" } });
    case "scramFirst":
    case "scramFinal":
      return err(
        "the server let us in without proving that it knows the password: it may not be the real one",
      );
    case "done":
      return err("the server sent AuthenticationOk twice");
    default:
      return assertNever(state);
  }
}

function cleartext(state: AuthenticationState, context: AuthenticationContext, rest: Buffer): Step {
  if (state.phase !== "start" || rest.length !== 0)
    return err("the server asked for a cleartext password out of turn");
  if (!context.trusted) {
    return err(
      "the server asks for the password in clear text; the connector sends it only over TLS with a verified certificate",
    );
  }
  if (context.password === undefined) return err(noPassword("clear text"));
  return ok({ state: { phase: "password" }, reply: passwordMessage(context.password) });
}

function md5(state: AuthenticationState, context: AuthenticationContext, salt: Buffer): Step {
  if (state.phase !== "start" || salt.length !== 4)
    return err("the server asked for an MD5 password out of turn");
  if (context.password === undefined) return err(noPassword("md5"));
  const inner = createHash("md5").update(context.password, "utf8").update(context.user, "utf8").digest("hex");
  const outer = createHash("md5").update(inner, "ascii").update(salt).digest("hex");
  return ok({ state: { phase: "password" }, reply: passwordMessage(`md5${outer}`) });
}

function sasl(state: AuthenticationState, context: AuthenticationContext, rest: Buffer): Step {
  if (state.phase !== "start") return err("the server asked for SASL out of turn");
  const mechanisms = rest.toString("latin1").split("\0");
  // Each name ends with a NUL and one more ends the list.
  if (mechanisms.pop() !== "" || mechanisms.pop() !== "")
    return err("the server sent a malformed AuthenticationSASL");
  if (context.password === undefined) return err(noPassword("SCRAM-SHA-256"));
  const plus = mechanisms.includes("SCRAM-SHA-256-PLUS");
  if (!plus && !mechanisms.includes("SCRAM-SHA-256")) {
    return err(
      "the server offers no SASL mechanism that the connector speaks (SCRAM-SHA-256, SCRAM-SHA-256-PLUS)",
    );
  }
  if (plus && context.endPoint === undefined && !mechanisms.includes("SCRAM-SHA-256")) {
    return err("the server offers SCRAM-SHA-256-PLUS only, and its certificate gives nothing to bind to");
  }
  const binding: ChannelBinding =
    context.endPoint === undefined
      ? { kind: "none" }
      : plus
        ? { kind: "tls-server-end-point", data: context.endPoint }
        : { kind: "possible" };
  const first = clientFirst(Buffer.from(context.nonce).toString("base64"), binding);
  const mechanism = binding.kind === "tls-server-end-point" ? "SCRAM-SHA-256-PLUS" : "SCRAM-SHA-256";
  return ok({ state: { phase: "scramFirst", first }, reply: saslInitialResponse(mechanism, first.message) });
}

async function saslContinue(
  state: AuthenticationState,
  context: AuthenticationContext,
  rest: Buffer,
): Promise<Step> {
  if (state.phase !== "scramFirst" || context.password === undefined)
    return err("the server sent a SASL challenge out of turn");
  const server = serverFirst(state.first, rest.toString("utf8"));
  if (!server.ok) return err(scramReason(server.error));
  const salted = await context.derive(context.password, server.value.salt, server.value.iterations);
  const final = clientFinal(state.first, server.value, salted);
  return ok({
    state: { phase: "scramFinal", serverSignature: final.serverSignature },
    reply: saslResponse(final.message),
  });
}

function saslFinal(state: AuthenticationState, rest: Buffer): Step {
  if (state.phase !== "scramFinal") return err("the server ended SASL out of turn");
  const verified = verifyServerFinal(state.serverSignature, rest.toString("utf8"));
  return verified.ok ? ok({ state: { phase: "scramVerified" } }) : err(scramReason(verified.error));
}

function noPassword(method: string): string {
  return `the server asks for a password (${method}) and the config gives none for this resource`;
}

function scramReason(error: ScramError): string {
  switch (error) {
    case "server_message_malformed":
      return "the server sent a malformed SCRAM message";
    case "server_nonce_wrong":
      return "the server's SCRAM nonce does not continue ours";
    case "iterations_out_of_bounds":
      return `the server asks for more than ${MAX_ITERATIONS} SCRAM iterations`;
    case "server_extension_unknown":
      return "the server asks for a SCRAM extension that the connector does not speak";
    case "server_signature_wrong":
      return "the server's SCRAM signature is wrong: it does not know the password, so it may not be the real one";
    case "server_reported_error":
      return "the server ended SCRAM with an error";
    default:
      return assertNever(error);
  }
}

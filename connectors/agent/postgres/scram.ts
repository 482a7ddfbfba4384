/**
 * SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the client's side (RFC 5802, RFC 7677, RFC 5929 section 4;
 * PostgreSQL docs 54.3). Pure but for the key derivation, which runs off the main thread.
 *
 *   clientFirst ──► n,,n=,r=<nonce>
 *                   r=<nonce><theirs>,s=<salt>,i=<iterations> ──► serverFirst
 *   clientFinal ──► c=<binding>,r=…,p=<proof>
 *                   v=<signature> ──► verifyServerFinal
 */
import { createHash, createHmac, pbkdf2, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import { type Result, err, ok } from "../../../wire/result.ts";
import { saslPrep } from "./saslprep.ts";

const derive = promisify(pbkdf2);

/** A hostile server could ask for 2^31 iterations; PostgreSQL's default is 4096, a second's work is about this. */
export const MAX_ITERATIONS = 1_000_000;
/** RFC 7677 section 4 asks for at least 4096; `scram_iterations` may be set lower, but not to nothing. */
const MIN_ITERATIONS = 1;
const MAX_SALT_BYTES = 1024;
const MAX_SERVER_MESSAGE = 4096;

/** `tls-server-end-point` data; `possible`: we could bind but the server does not offer it; or none at all. */
export type ChannelBinding =
  | { readonly kind: "none" }
  | { readonly kind: "possible" }
  | { readonly kind: "tls-server-end-point"; readonly data: Uint8Array };

export type ScramFirst = {
  readonly message: string;
  readonly bare: string;
  readonly nonce: string;
  readonly gs2Header: string;
  readonly binding: ChannelBinding;
};

export type ScramError =
  | "server_message_malformed"
  | "server_nonce_wrong"
  | "iterations_out_of_bounds"
  | "server_extension_unknown"
  | "server_signature_wrong"
  | "server_reported_error";

/** The first message. `nonce` is printable ASCII without comma, from a cryptographic source. */
export function clientFirst(nonce: string, binding: ChannelBinding, user = ""): ScramFirst {
  const gs2Header =
    binding.kind === "tls-server-end-point"
      ? "p=tls-server-end-point,,"
      : binding.kind === "possible"
        ? "y,,"
        : "n,,";
  // PostgreSQL takes the user from the StartupMessage and ignores the name here; libpq sends it empty.
  const bare = `n=${user.replaceAll("=", "=3D").replaceAll(",", "=2C")},r=${nonce}`;
  return { message: gs2Header + bare, bare, nonce, gs2Header, binding };
}

export type ServerFirst = {
  readonly message: string;
  readonly nonce: string;
  readonly salt: Uint8Array;
  readonly iterations: number;
};

/** Checks the server's first message against our nonce and the ceilings. */
export function serverFirst(first: ScramFirst, message: string): Result<ServerFirst, ScramError> {
  if (message.length > MAX_SERVER_MESSAGE) return err("server_message_malformed");
  if (message.startsWith("m=")) return err("server_extension_unknown");
  const match = /^r=([\x21-\x2b\x2d-\x7e]+),s=([A-Za-z0-9+/]+={0,2}),i=([1-9][0-9]{0,9})(?:,.*)?$/.exec(
    message,
  );
  const [, nonce, salt64, iterationText] = match ?? [];
  if (nonce === undefined || salt64 === undefined || iterationText === undefined)
    return err("server_message_malformed");
  if (!nonce.startsWith(first.nonce) || nonce.length === first.nonce.length) return err("server_nonce_wrong");
  const salt = Buffer.from(salt64, "base64");
  if (salt.toString("base64") !== salt64 || salt.length > MAX_SALT_BYTES)
    return err("server_message_malformed");
  const iterations = Number(iterationText);
  if (iterations < MIN_ITERATIONS || iterations > MAX_ITERATIONS) return err("iterations_out_of_bounds");
  return ok({ message, nonce, salt, iterations });
}

/** SaltedPassword of RFC 5802 section 3: 32 bytes. */
export function saltedPassword(password: string, salt: Uint8Array, iterations: number): Promise<Buffer> {
  return derive(saslPrep(password), salt, iterations, 32, "sha256");
}

export type ClientFinal = { readonly message: string; readonly serverSignature: Uint8Array };

/** The final message with our proof, and the signature that the server has to answer with. */
export function clientFinal(first: ScramFirst, server: ServerFirst, salted: Uint8Array): ClientFinal {
  const clientKey = hmac(salted, "Client Key");
  const storedKey = createHash("sha256").update(clientKey).digest();
  const header = Buffer.from(first.gs2Header, "ascii");
  const bindingInput =
    first.binding.kind === "tls-server-end-point" ? Buffer.concat([header, first.binding.data]) : header;
  const withoutProof = `c=${bindingInput.toString("base64")},r=${server.nonce}`;
  const authMessage = `${first.bare},${server.message},${withoutProof}`;
  const signature = hmac(storedKey, authMessage);
  const proof = Buffer.alloc(clientKey.length);
  for (let i = 0; i < proof.length; i += 1) proof[i] = (clientKey[i] ?? 0) ^ (signature[i] ?? 0);
  return {
    message: `${withoutProof},p=${proof.toString("base64")}`,
    serverSignature: hmac(hmac(salted, "Server Key"), authMessage),
  };
}

/** The server proves that it knows the password's verifier: without this anybody could say "ok". */
export function verifyServerFinal(expected: Uint8Array, message: string): Result<undefined, ScramError> {
  if (message.length > MAX_SERVER_MESSAGE) return err("server_message_malformed");
  if (message.startsWith("e=")) return err("server_reported_error");
  const signature64 = /^v=([A-Za-z0-9+/]+={0,2})(?:,.*)?$/.exec(message)?.[1];
  if (signature64 === undefined) return err("server_message_malformed");
  const signature = Buffer.from(signature64, "base64");
  if (signature.length !== expected.length || !timingSafeEqual(signature, expected))
    return err("server_signature_wrong");
  return ok(undefined);
}

function hmac(key: Uint8Array, text: string): Buffer {
  return createHmac("sha256", key).update(text, "utf8").digest();
}

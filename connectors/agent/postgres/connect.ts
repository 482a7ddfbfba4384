/**
 * Reaching a PostgreSQL server: TCP or a local socket, then TLS where the config asks for it
 * (PostgreSQL docs 54.2.9). Never less TLS than was asked for: a server without it is an error.
 */
import { createHash, X509Certificate } from "node:crypto";
import { type Socket, connect as connectSocket, isIP } from "node:net";
import { type TLSSocket, checkServerIdentity, connect as connectTls } from "node:tls";
import { type Result, err, ok } from "../../../wire/result.ts";
import { networkReason } from "../../lib/web-socket.ts";
import { sslRequest } from "./messages.ts";

export type Address =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "local"; readonly path: string };

export type TlsMode = "off" | "require" | "verify-ca" | "verify-full";

export type Target = {
  readonly address: Address;
  readonly tls: TlsMode;
  /** PEM certificates to trust instead of the system's. */
  readonly ca: string | undefined;
};

/** A connection that is up. `raw` is the TCP socket under `stream`, the same one without TLS. */
export type Connection = {
  readonly stream: Socket;
  readonly raw: Socket;
  /** The server's certificate, DER; undefined without TLS. */
  readonly certificate: Uint8Array | undefined;
  /** True when the certificate was checked against a trusted one. */
  readonly verified: boolean;
  /** Where it led, so that a CancelRequest reaches the same server when a name has several addresses. */
  readonly reached: Address;
};

/** Why not, in words for the connector's log. */
export type ConnectFailure = { readonly step: "network" | "tls"; readonly detail: string };

const KEEP_ALIVE_AFTER = 30_000;

/** Connects to the target. `signal` bounds the whole; `at` overrides the address, the name that TLS checks stays. */
export async function connect(
  target: Target,
  signal: AbortSignal,
  at?: Address,
): Promise<Result<Connection, ConnectFailure>> {
  const raw = await openSocket(at ?? target.address, signal);
  if (!raw.ok) return err({ step: "network", detail: raw.error });
  const socket = raw.value;
  const reached: Address =
    target.address.kind === "tcp" && socket.remoteAddress !== undefined
      ? { kind: "tcp", host: socket.remoteAddress, port: target.address.port }
      : target.address;
  if (target.tls === "off")
    return ok({ stream: socket, raw: socket, certificate: undefined, verified: false, reached });
  const upgraded = await startTls(socket, target, signal);
  if (!upgraded.ok) {
    socket.destroy();
    return err({ step: "tls", detail: upgraded.error });
  }
  const certificate = upgraded.value.getPeerX509Certificate()?.raw;
  return ok({
    stream: upgraded.value,
    raw: socket,
    certificate,
    verified: target.tls !== "require",
    reached,
  });
}

/** Ends a connection at once; by a TCP reset where possible, so that the server drops what it had not read yet. */
export function reset(connection: Connection): void {
  const { raw, stream } = connection;
  // A reset while a shutdown is under way fails inside libuv (EINVAL), and Node then never closes the handle.
  const ending = raw.writableEnded || stream.writableEnded;
  if (connection.reached.kind === "tcp" && !ending && !raw.destroyed) raw.resetAndDestroy();
  raw.destroy();
  stream.destroy();
}

function openSocket(address: Address, signal: AbortSignal): Promise<Result<Socket, string>> {
  return new Promise((resolve) => {
    const socket =
      address.kind === "tcp"
        ? connectSocket({
            host: address.host,
            port: address.port,
            noDelay: true,
            keepAlive: true,
            keepAliveInitialDelay: KEEP_ALIVE_AFTER,
          })
        : connectSocket({ path: address.path });
    const settle = (result: Result<Socket, string>) => {
      signal.removeEventListener("abort", abort);
      socket.removeAllListeners("connect");
      socket.removeListener("error", failed);
      // From here on the owner listens; until then an error must not end the process.
      socket.on("error", () => undefined);
      if (!result.ok) socket.destroy();
      resolve(result);
    };
    const abort = () => settle(err("no answer in time"));
    const failed = (error: Error) => settle(err(networkReason(error)));
    socket.once("connect", () => settle(ok(socket)));
    socket.once("error", failed);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  });
}

async function startTls(
  socket: Socket,
  target: Target,
  signal: AbortSignal,
): Promise<Result<TLSSocket, string>> {
  socket.write(sslRequest());
  const answer = await firstBytes(socket, signal);
  if (!answer.ok) return answer;
  // More than the one byte would be plaintext that somebody slipped in before the handshake (CVE-2021-23222).
  if (answer.value.length !== 1) return err("the server sent data before the TLS handshake");
  if (answer.value[0] !== 0x53 /* S */) return err("the server does not offer TLS");
  return handshake(socket, target, signal);
}

function firstBytes(socket: Socket, signal: AbortSignal): Promise<Result<Buffer, string>> {
  return new Promise((resolve) => {
    const settle = (result: Result<Buffer, string>) => {
      socket.pause();
      signal.removeEventListener("abort", abort);
      socket.removeListener("data", data);
      socket.removeListener("close", closed);
      resolve(result);
    };
    const data = (bytes: Buffer) => settle(ok(bytes));
    const closed = () => settle(err("the server closed the connection when asked for TLS"));
    const abort = () => settle(err("no answer to the request for TLS in time"));
    socket.on("data", data);
    socket.once("close", closed);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  });
}

function handshake(socket: Socket, target: Target, signal: AbortSignal): Promise<Result<TLSSocket, string>> {
  const host = target.address.kind === "tcp" ? target.address.host : "localhost";
  return new Promise((resolve) => {
    const secure = connectTls({
      socket,
      host,
      ...(isIP(host) === 0 ? { servername: host } : {}),
      minVersion: "TLSv1.2",
      ALPNProtocols: ["postgresql"],
      rejectUnauthorized: target.tls !== "require",
      ...(target.ca === undefined ? {} : { ca: target.ca }),
      checkServerIdentity: (name, certificate) =>
        target.tls === "verify-full" ? checkServerIdentity(name, certificate) : undefined,
    });
    const settle = (result: Result<TLSSocket, string>) => {
      signal.removeEventListener("abort", abort);
      secure.removeListener("error", failed);
      secure.removeListener("close", closed);
      secure.on("error", () => undefined);
      resolve(result);
    };
    const abort = () => settle(err("the TLS handshake took too long"));
    const failed = (error: Error) => settle(err(tlsReason(error)));
    const closed = () => settle(err("the server closed the connection during the TLS handshake"));
    secure.once("secureConnect", () => settle(ok(secure)));
    secure.once("error", failed);
    secure.once("close", closed);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  });
}

function tlsReason(error: Error): string {
  const code = (error as NodeJS.ErrnoException).code;
  switch (code) {
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return `the server's certificate is for another name (${error.message})`;
    case "UNABLE_TO_GET_ISSUER_CERT":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
      return `the server's certificate was not issued by a trusted authority (${code})`;
    case "CERT_HAS_EXPIRED":
      return "the server's certificate has expired";
    default:
      return code === undefined ? error.message : `${error.message} (${code})`;
  }
}

/**
 * `tls-server-end-point` (RFC 5929 section 4.1): the certificate's hash by its own signature's hash algorithm,
 * SHA-256 in place of MD5 and SHA-1. Undefined where the signature has none (Ed25519).
 */
export function endPointBinding(certificate: Uint8Array): Uint8Array | undefined {
  const algorithm = new X509Certificate(certificate).signatureAlgorithm?.toLowerCase() ?? "";
  const hash = /sha(?:3-)?(?:1|224|256|384|512)|md5/.exec(algorithm)?.[0];
  if (hash === undefined) return undefined;
  const name = hash === "md5" || hash === "sha1" ? "sha256" : hash;
  return createHash(name).update(certificate).digest();
}

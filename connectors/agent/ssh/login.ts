/** Reaches a server as its config says: TCP or through a jump host, host key checked, logged in. */
import { connect } from "node:net";
import { Duplex } from "node:stream";
import { LIMITS } from "../../../wire/limits.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import { encodeTcpipChannel } from "../../../wire/ssh/messages.ts";
import type { CloseReason } from "../../lib/tunnel-socket.ts";
import { type SecretSource, resolveSecret } from "../../lib/credentials.ts";
import type { Proof } from "./authentication.ts";
import { signCertificate } from "./certificate.ts";
import { type ClientFailure, type Forwarded, SshClient } from "./client.ts";
import type { Address, SshConfig, SshLogin } from "./config.ts";
import { HostKeyCheck } from "./host-key.ts";
import { openFailure } from "../open-failure.ts";
import { type PrivateKey, certificateIdentity, keyIdentity, readPrivateKey } from "./identity.ts";

export type LoginFailure =
  | { readonly step: "credential" | "network" | "jump"; readonly detail: string }
  | ClientFailure;

export type LoginOptions = {
  readonly user: string;
  /** Session of the gateway, for certificates and the server's log. */
  readonly session: string;
  readonly signal: AbortSignal;
  readonly onLost: (why: string) => void;
  readonly onForwarded?: (forwarded: Forwarded) => void;
};

/** A keystroke must not wait for an acknowledgement (Nagle's algorithm, 40 ms). */
const NO_DELAY = true;

export async function logIn(
  config: SshConfig,
  options: LoginOptions,
): Promise<Result<SshClient, LoginFailure>> {
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(LIMITS.time.upstreamOpen)]);
  const proof = await proofFor(config, options.user, options.session);
  if (!proof.ok) return err({ step: "credential", detail: proof.error });
  const stream =
    config.jump === undefined
      ? await dial(config.address, signal)
      : await throughJump(config.jump, config.address, { ...options, signal });
  if (!stream.ok) return stream;
  return secure(config, stream.value, proof.value, { ...options, signal });
}

function secure(
  login: SshLogin,
  stream: Duplex,
  proof: Proof,
  options: LoginOptions,
): Promise<Result<SshClient, ClientFailure>> {
  const hostKey = new HostKeyCheck(login.hostKey, login.trustFirstHostKey);
  return SshClient.connect({
    stream,
    user: options.user,
    verifyHostKey: (blob) => hostKey.verify(blob),
    hostKeyAlgorithms: hostKey.algorithms,
    proof: () => proof,
    signal: options.signal,
    onLost: options.onLost,
    ...(options.onForwarded === undefined ? {} : { onForwarded: options.onForwarded }),
  });
}

function dial(address: Address, signal: AbortSignal): Promise<Result<Duplex, LoginFailure>> {
  return new Promise((resolve) => {
    const socket = connect({ ...address, noDelay: NO_DELAY, keepAlive: true });
    const abort = (): void => void socket.destroy(new Error("it did not answer in time"));
    const settle = (result: Result<Duplex, LoginFailure>): void => {
      signal.removeEventListener("abort", abort);
      socket.removeAllListeners();
      resolve(result);
    };
    socket.once("connect", () => settle(ok(socket)));
    socket.once("error", (error) => settle(err({ step: "network", detail: error.message })));
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  });
}

async function throughJump(
  jump: SshLogin,
  target: Address,
  options: LoginOptions,
): Promise<Result<Duplex, LoginFailure>> {
  const proof = await proofFor(jump, jump.user, options.session);
  if (!proof.ok) return err({ step: "credential", detail: `jump host: ${proof.error}` });
  const stream = await dial(jump.address, options.signal);
  if (!stream.ok) return err({ step: "jump", detail: stream.error.detail });
  let far: ChannelStream | undefined;
  const client = await secure(jump, stream.value, proof.value, {
    user: jump.user,
    session: options.session,
    signal: options.signal,
    onLost: (why) => far?.destroy(new Error(why)),
  });
  if (!client.ok) return err({ ...client.error, detail: `jump host: ${client.error.detail}` });
  far = new ChannelStream(() => client.value.close());
  const data = encodeTcpipChannel({ ...target, originHost: "127.0.0.1", originPort: 0 });
  const opened = await far.open(client.value, data);
  if (opened.ok) return ok(far);
  client.value.close();
  return err({ step: "jump", detail: opened.error });
}

/** A `direct-tcpip` channel as a stream, for a connection through a jump host. */
class ChannelStream extends Duplex {
  #write: ((bytes: Uint8Array, sent: () => void) => void) | undefined;
  #finish: (() => void) | undefined;
  #taken: (() => void)[] = [];
  readonly #onDestroy: () => void;

  constructor(onDestroy: () => void) {
    super({ allowHalfOpen: true });
    this.#onDestroy = onDestroy;
  }

  async open(client: SshClient, data: Uint8Array): Promise<Result<void, string>> {
    const opened = await client.open("direct-tcpip", data, {
      data: (_stream, bytes, taken) => {
        if (this.push(Buffer.from(bytes))) taken();
        else this.#taken.push(taken);
      },
      end: () => this.push(null),
      request: () => undefined,
      closed: () => this.destroy(),
    });
    if (!opened.ok) return opened;
    const channel = opened.value;
    this.#write = (bytes, sent) => channel.write(bytes, sent);
    this.#finish = () => channel.end();
    return ok(undefined);
  }

  override _read(): void {
    for (const taken of this.#taken.splice(0)) taken();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, written: () => void): void {
    this.#write?.(chunk, written);
  }

  override _final(finished: () => void): void {
    this.#finish?.();
    finished();
  }

  override _destroy(error: Error | null, destroyed: (error?: Error | null) => void): void {
    this.#onDestroy();
    destroyed(error);
  }
}

/** Resolves the secrets now, so that rotated ones are taken up. */
async function proofFor(login: SshLogin, user: string, session: string): Promise<Result<Proof, string>> {
  if (login.password !== undefined) {
    const password = await resolveSecret(login.password);
    return password.ok ? ok({ kind: "password", password: password.value }) : password;
  }
  if (login.certificateAuthority !== undefined) {
    const authority = await privateKey(login.certificateAuthority, undefined);
    if (!authority.ok) return authority;
    const now = Math.floor(Date.now() / 1000);
    const request = { user, keyId: `sallyport session ${session}`, now, seconds: login.certificateSeconds };
    return ok({ kind: "identity", identity: signCertificate(authority.value, request) });
  }
  if (login.key === undefined) return err("no credential is configured");
  const key = await privateKey(login.key, login.passphrase);
  if (!key.ok) return key;
  if (login.certificate === undefined) return ok({ kind: "identity", identity: keyIdentity(key.value) });
  const certificate = await resolveSecret(login.certificate);
  if (!certificate.ok) return certificate;
  const identity = certificateIdentity(key.value, certificate.value);
  return identity.ok ? ok({ kind: "identity", identity: identity.value }) : identity;
}

async function privateKey(
  source: SecretSource,
  passphrase: SecretSource | undefined,
): Promise<Result<PrivateKey, string>> {
  const text = await resolveSecret(source);
  if (!text.ok) return text;
  const phrase = passphrase === undefined ? ok(undefined) : await resolveSecret(passphrase);
  return phrase.ok ? readPrivateKey(text.value, phrase.value) : phrase;
}

/** What the client may know: which resource and which step, no address, user or key. */
export function closeReason(resource: string, failure: LoginFailure): CloseReason {
  switch (failure.step) {
    case "credential":
    case "network":
      return openFailure(failure.step, resource, "the server");
    case "jump":
      return {
        code: "upstream_unreachable",
        message: `the connector cannot reach ${resource} through its jump host`,
      };
    case "host_key":
      return {
        code: "upstream_unreachable",
        message: `the server of ${resource} shows a host key that is not the configured one`,
      };
    case "transport":
      return {
        code: "upstream_unreachable",
        message: `the connector cannot speak SSH with the server of ${resource}`,
      };
    case "login":
      return {
        code: "upstream_login_failed",
        message: `the server refused the connector's login to ${resource}`,
      };
  }
}

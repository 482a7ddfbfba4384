/**
 * The server side of the SSH transport (RFC 4253): identification, key exchange, encryption, integrity. ssh2
 * does these; what is above them never reaches ssh2, because its `_onPayload` is ours: each decrypted packet
 * goes to SshMachine, which checks every message itself.
 *
 * Offered is only what is both sound and cheap: elliptic curves (a client that could pick a large finite-field
 * group would burn seconds of CPU before it has authenticated), AES in GCM or counter mode with encrypt-then-MAC,
 * no compression. Strict key exchange (kex-strict-s-v00@openssh.com) is advertised and enforced by ssh2.
 */
import { Buffer } from "node:buffer";
import { createPrivateKey, sign } from "node:crypto";
import kex from "ssh2/lib/protocol/kex.js";
import Protocol, { type Ssh2HostKey, type Ssh2Negotiated } from "ssh2/lib/protocol/Protocol.js";
import protocolUtils from "ssh2/lib/protocol/utils.js";
import { LIMITS } from "../../../wire/limits.ts";
import { PacketSender } from "../../../wire/ssh/packet-sender.ts";
import { HOST_KEY_TYPE, type SshHostKey, hostKeyBlob } from "../../identity/ssh-host-key.ts";

export const SSH_ALGORITHMS = {
  kex: [
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
  ],
  serverHostKey: [HOST_KEY_TYPE],
  cipher: ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr"],
  mac: ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"],
} as const;

const KEXINIT = 20;
const NEWKEYS = 21;
const KEX_LAST = 49;
/** Key exchanges a client may ask for beyond one per this many bytes. */
const FREE_REKEYS = 8;
const BYTES_PER_REKEY = 64 << 10;

export type SshTransportEvents = {
  /** Encrypted bytes for the client. */
  readonly write: (bytes: Uint8Array) => void;
  /** One decrypted packet's payload; never one of key exchange. */
  readonly payload: (payload: Uint8Array) => void;
  readonly negotiated: (algorithms: Ssh2Negotiated) => void;
  /** The transport cannot go on; a DISCONNECT was sent where that was possible. */
  readonly failed: (reason: string) => void;
};

export class SshTransport {
  readonly #events: SshTransportEvents;
  readonly #protocol: Protocol;
  readonly #sender: PacketSender<Buffer>;
  #authenticated = false;
  #over = false;
  #exchanges = 0;
  #bytes = 0;

  constructor(hostKey: SshHostKey, events: SshTransportEvents) {
    this.#events = events;
    const lists = { cipher: SSH_ALGORITHMS.cipher, mac: SSH_ALGORITHMS.mac, compress: ["none"], lang: [] };
    this.#protocol = new Protocol({
      server: true,
      // No version: it would only tell an attacker what to look up.
      ident: "Sallyport",
      hostKeys: { [HOST_KEY_TYPE]: serverKey(hostKey) },
      offer: {
        kex: [...SSH_ALGORITHMS.kex],
        serverHostKey: [...SSH_ALGORITHMS.serverHostKey],
        cs: lists,
        sc: lists,
      },
      onWrite: (data) => this.#write(data),
      onError: (error) => this.#fail(error.message),
      onHandshakeComplete: (negotiated) => {
        this.#exchanges += 1;
        this.#sender.exchanged();
        if (this.#exchanges === 1) events.negotiated(negotiated);
      },
    });
    const protocol = this.#protocol;
    this.#sender = new PacketSender(protocol, (packet) => void protocolUtils.sendPacket(protocol, packet));
    this.#protocol._onPayload = (payload) => this.#payload(payload);
    this.#protocol.start();
  }

  /** True when the client takes part in strict key exchange. */
  get strict(): boolean {
    return this.#protocol._strictMode === true;
  }

  /** From now on the client may exchange keys again, and send more than a handshake's worth. */
  authenticated(): void {
    this.#authenticated = true;
  }

  receive(bytes: Uint8Array): void {
    if (this.#over) return;
    this.#bytes += bytes.length;
    if (!this.#authenticated && this.#bytes > LIMITS.ssh.bytesBeforeAuthentication) {
      this.#fail("too many bytes before authentication");
      return;
    }
    try {
      this.#protocol.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), 0, bytes.length);
    } catch (error) {
      // ssh2 throws on a bad MAC, a bad length, a bad identification line.
      this.#fail(error instanceof Error ? error.message : "malformed packet");
    }
  }

  send(payload: Uint8Array): void {
    if (!this.#over) this.#sender.send(payload);
  }

  close(): void {
    this.#over = true;
    this.#sender.close();
  }

  #write(data: Buffer): void {
    this.#bytes += data.length;
    // A copy is not needed: ssh2 allocates each packet anew.
    this.#events.write(new Uint8Array(data.buffer, data.byteOffset, data.length));
  }

  #payload(payload: Uint8Array): unknown {
    if (this.#over) return undefined;
    const type = payload[0];
    if (type === KEXINIT) {
      // Each exchange costs a signature and a key agreement: not before the client is known, not in a loop.
      if (!this.#authenticated || this.#exchanges > FREE_REKEYS + this.#bytes / BYTES_PER_REKEY) {
        this.#fail("too many key exchanges");
        return undefined;
      }
      return kex.HANDLERS[KEXINIT]?.(this.#protocol, payload);
    }
    if (type !== undefined && type >= NEWKEYS && type <= KEX_LAST) {
      this.#fail("key exchange message out of order");
      return undefined;
    }
    this.#events.payload(payload);
    return undefined;
  }

  #fail(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#events.failed(reason);
  }
}

function serverKey(key: SshHostKey): Ssh2HostKey {
  const secret = createPrivateKey({ key: { ...key }, format: "jwk" });
  const blob = Buffer.from(hostKeyBlob(key));
  return { type: HOST_KEY_TYPE, getPublicSSH: () => blob, sign: (data) => sign(null, data, secret) };
}

/**
 * The client side of the SSH transport (RFC 4253) over any byte stream: ssh2 exchanges keys and encrypts, and
 * hands every decrypted packet to us (see worker/objects/session/ssh-transport.ts for its counterpart).
 */
import type { Duplex } from "node:stream";
import kex from "ssh2/lib/protocol/kex.js";
import Protocol from "ssh2/lib/protocol/Protocol.js";
import protocolUtils from "ssh2/lib/protocol/utils.js";
import { PacketSender } from "../../../wire/ssh/packet-sender.ts";

const KEXINIT = 20;
const NEWKEYS = 21;
const KEX_LAST = 49;

const KEX = [
  "curve25519-sha256",
  "curve25519-sha256@libssh.org",
  "ecdh-sha2-nistp256",
  "ecdh-sha2-nistp384",
  "ecdh-sha2-nistp521",
  "diffie-hellman-group16-sha512",
  "diffie-hellman-group14-sha256",
];
const CIPHER = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr"];
const MAC = [
  "hmac-sha2-256-etm@openssh.com",
  "hmac-sha2-512-etm@openssh.com",
  "hmac-sha2-256",
  "hmac-sha2-512",
];
export const HOST_KEY_ALGORITHMS = [
  "ssh-ed25519",
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  "rsa-sha2-512",
  "rsa-sha2-256",
];

export type ClientTransportEvents = {
  readonly ready: () => void;
  readonly payload: (payload: Uint8Array) => void;
  /** Said once; nothing comes after it. */
  readonly lost: (why: string) => void;
};

export class ClientTransport {
  readonly #stream: Duplex;
  readonly #events: ClientTransportEvents;
  readonly #protocol: Protocol;
  readonly #sender: PacketSender<Buffer>;
  #over = false;
  #exchanges = 0;
  #hostKeyRefused = false;
  #gathering = false;

  /**
   * @param verify whether the server's public key, as an SSH blob, is the one expected
   * @param hostKeyAlgorithms in order of preference
   */
  constructor(
    stream: Duplex,
    verify: (key: Uint8Array) => boolean,
    hostKeyAlgorithms: readonly string[],
    events: ClientTransportEvents,
  ) {
    this.#stream = stream;
    this.#events = events;
    const lists = { cipher: CIPHER, mac: MAC, compress: ["none"], lang: [] };
    this.#protocol = new Protocol({
      ident: "Sallyport",
      offer: { kex: KEX, serverHostKey: [...hostKeyAlgorithms], cs: lists, sc: lists },
      hostVerifier: (key, decide) => {
        const valid = verify(key);
        this.#hostKeyRefused = !valid;
        decide(valid);
      },
      onWrite: (data) => this.#write(data),
      onError: (error) => this.#fail(this.#hostKeyRefused ? "host_key" : error.message),
      onHandshakeComplete: () => {
        this.#sender.exchanged();
        this.#exchanges += 1;
        if (this.#exchanges === 1) events.ready();
      },
    });
    const protocol = this.#protocol;
    this.#sender = new PacketSender(protocol, (packet) => void protocolUtils.sendPacket(protocol, packet));
    this.#protocol._onPayload = (payload) => this.#payload(payload);
    stream.on("data", (data: Buffer) => this.#receive(data));
    stream.on("error", (error) => this.#fail(error.message));
    stream.on("close", () => this.#fail("the server closed the connection"));
    stream.on("end", () => this.#fail("the server closed the connection"));
    this.#protocol.start();
  }

  /** What a signature for authentication covers (RFC 4252 section 7). Only after `ready`. */
  get sessionId(): Uint8Array {
    const id = this.#protocol._kex?.sessionID;
    if (id === undefined) throw new Error("asked for the session id before the key exchange");
    return id;
  }

  /** Bytes that the stream below has not taken yet. */
  get buffered(): number {
    return this.#stream.writableLength;
  }

  send(payload: Uint8Array): void {
    if (!this.#over) this.#sender.send(payload);
  }

  close(): void {
    this.#over = true;
    this.#sender.close();
    this.#leave();
  }

  /** ssh2 writes a packet in three pieces, and a turn may write several: they go in one system call. */
  #write(data: Buffer): void {
    if (!this.#gathering) {
      this.#gathering = true;
      this.#stream.cork();
      process.nextTick(() => {
        this.#gathering = false;
        this.#stream.uncork();
      });
    }
    this.#stream.write(data);
  }

  #leave(): void {
    // What was said last, such as the signal for a program, still goes.
    this.#stream.uncork();
    this.#stream.destroy();
  }

  #receive(data: Buffer): void {
    if (this.#over) return;
    try {
      this.#protocol.parse(data, 0, data.length);
    } catch (error) {
      this.#fail(error instanceof Error ? error.message : "malformed packet");
    }
  }

  #payload(payload: Uint8Array): unknown {
    if (this.#over) return undefined;
    const type = payload[0];
    if (type === KEXINIT) return kex.HANDLERS[KEXINIT]?.(this.#protocol, payload);
    if (type !== undefined && type >= NEWKEYS && type <= KEX_LAST)
      this.#fail("key exchange message out of order");
    else this.#events.payload(payload);
    return undefined;
  }

  #fail(why: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#events.lost(why);
    this.#leave();
  }
}

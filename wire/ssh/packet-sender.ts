/**
 * Sending over ssh2's Protocol, which both ends of ours do in the same way: a payload becomes a packet, and after
 * so many bytes new keys are exchanged (RFC 4253 section 9).
 */
import { LIMITS } from "../limits.ts";

/** What of ssh2's Protocol is used for that. Its own types are not for this folder, which knows no runtime. */
export type PacketProtocol<Packet extends Uint8Array> = {
  rekey(): void;
  cleanup(): void;
  /** Set while keys are exchanged. */
  readonly _kexinit: unknown;
  readonly _packetRW: {
    readonly write: {
      readonly allocStart: number;
      alloc(size: number): Packet;
      finalize(packet: Packet): Packet;
    };
  };
};

export class PacketSender<Packet extends Uint8Array> {
  readonly #protocol: PacketProtocol<Packet>;
  readonly #sendPacket: (packet: Packet) => void;
  #over = false;
  #sinceExchange = 0;

  /** @param sendPacket encrypts and writes a finished packet */
  constructor(protocol: PacketProtocol<Packet>, sendPacket: (packet: Packet) => void) {
    this.#protocol = protocol;
    this.#sendPacket = sendPacket;
  }

  send(payload: Uint8Array): void {
    if (this.#over) return;
    this.#sinceExchange += payload.length;
    const writer = this.#protocol._packetRW.write;
    const start = writer.allocStart;
    const packet = writer.alloc(payload.length);
    packet.set(payload, start);
    this.#sendPacket(writer.finalize(packet));
    if (this.#sinceExchange > LIMITS.ssh.rekey && this.#protocol._kexinit === undefined)
      this.#protocol.rekey();
  }

  /** New keys are in use. */
  exchanged(): void {
    this.#sinceExchange = 0;
  }

  /** Nothing more is sent; ssh2 lets its keys go. */
  close(): void {
    this.#over = true;
    this.#protocol.cleanup();
  }
}

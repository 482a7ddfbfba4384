/**
 * The part of ssh2's transport that is used, as it is in version 1.17. Members with an underscore are ssh2's own;
 * test/conformance/ssh and the build (scripts/build/ssh2.ts) fail should a version change them.
 */
declare module "ssh2/lib/protocol/Protocol.js" {
  export type Ssh2HostKey = {
    readonly type: string;
    getPublicSSH(): Buffer;
    sign(data: Buffer): Buffer | Error;
  };
  export type Ssh2Negotiated = {
    readonly kex: string;
    readonly serverHostKey: string;
    readonly cs: { readonly cipher: string; readonly mac: string };
    readonly sc: { readonly cipher: string; readonly mac: string };
  };
  export type Ssh2Config = {
    readonly server?: boolean;
    readonly ident?: string;
    readonly hostKeys?: Readonly<Record<string, Ssh2HostKey>>;
    readonly hostVerifier?: (key: Buffer, verify: (valid: boolean) => void) => void;
    readonly offer: unknown;
    readonly onWrite: (data: Buffer) => void;
    readonly onError: (error: Error) => void;
    readonly onHandshakeComplete: (negotiated: Ssh2Negotiated) => void;
  };
  class Protocol {
    constructor(config: Ssh2Config);
    start(): void;
    parse(data: Buffer, from: number, length: number): void;
    rekey(): void;
    cleanup(): void;
    /** Gone once the instance cannot be used any more. */
    _destruct: ((reason: string) => void) | undefined;
    _onPayload: (payload: Uint8Array) => unknown;
    /** Set while keys are exchanged. */
    _kexinit: Buffer | undefined;
    readonly _strictMode: boolean | undefined;
    readonly _kex: { readonly sessionID: Buffer } | undefined;
    readonly _packetRW: {
      readonly write: {
        readonly allocStart: number;
        alloc(size: number): Buffer;
        finalize(packet: Buffer): Buffer;
      };
    };
  }
  export default Protocol;
}

// These are CommonJS, so their exports come as one default.

declare module "ssh2/lib/protocol/kex.js" {
  const kex: {
    readonly HANDLERS: Readonly<Record<number, (protocol: unknown, payload: Uint8Array) => unknown>>;
  };
  export default kex;
}

declare module "ssh2/lib/protocol/keyParser.js" {
  export type Ssh2Key = {
    readonly type: string;
    isPrivateKey(): boolean;
    getPublicSSH(): Buffer;
    sign(data: Buffer, hash?: string): Buffer | Error;
  };
  const keyParser: { parseKey(text: string, passphrase?: string): Ssh2Key | Ssh2Key[] | Error };
  export default keyParser;
}

declare module "ssh2/lib/protocol/utils.js" {
  const utils: {
    /** From OpenSSL's DER form to the bare form of RFC 5656 and RFC 4253; false when that is not possible. */
    convertSignature(signature: Buffer, keyType: string): Buffer | false;
    sendPacket(protocol: unknown, packet: Buffer): boolean;
  };
  export default utils;
}

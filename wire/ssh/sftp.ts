/**
 * The SSH File Transfer Protocol, version 3 (draft-ietf-secsh-filexfer-02), as OpenSSH speaks it, with OpenSSH's
 * extensions (openssh-portable/PROTOCOL section 4). Every packet is `uint32 length, byte type, uint32 id, …`;
 * INIT and VERSION carry a version where the others have the id.
 *
 * SYMLINK's two paths come in OpenSSH's order, target before link, which is the reverse of the draft's.
 */
import { concat, displayUtf8, fromUtf8, readUint32, EMPTY } from "../bytes.ts";
import { LIMITS } from "../limits.ts";
import { type Result, err, ok } from "../result.ts";
import { Reader, byte, string, uint32 } from "./reader.ts";

export const Fxp = {
  INIT: 1,
  VERSION: 2,
  OPEN: 3,
  CLOSE: 4,
  READ: 5,
  WRITE: 6,
  LSTAT: 7,
  FSTAT: 8,
  SETSTAT: 9,
  FSETSTAT: 10,
  OPENDIR: 11,
  READDIR: 12,
  REMOVE: 13,
  MKDIR: 14,
  RMDIR: 15,
  REALPATH: 16,
  STAT: 17,
  RENAME: 18,
  READLINK: 19,
  SYMLINK: 20,
  STATUS: 101,
  HANDLE: 102,
  DATA: 103,
  NAME: 104,
  ATTRS: 105,
  EXTENDED: 200,
  EXTENDED_REPLY: 201,
} as const;

/** Status codes, section 7. */
export const Fx = {
  OK: 0,
  EOF: 1,
  NO_SUCH_FILE: 2,
  PERMISSION_DENIED: 3,
  FAILURE: 4,
  BAD_MESSAGE: 5,
  OP_UNSUPPORTED: 8,
} as const;

/** Bits of OPEN's pflags, section 6.3. */
export const OpenFlag = { READ: 1, WRITE: 2, APPEND: 4, CREAT: 8, TRUNC: 16, EXCL: 32 } as const;

export type SftpOperation =
  | "open"
  | "close"
  | "read"
  | "write"
  | "stat"
  | "lstat"
  | "fstat"
  | "setstat"
  | "lsetstat"
  | "fsetstat"
  | "opendir"
  | "readdir"
  | "remove"
  | "mkdir"
  | "rmdir"
  | "realpath"
  | "expand_path"
  | "home_directory"
  | "rename"
  | "readlink"
  | "symlink"
  | "hardlink"
  | "statvfs"
  | "fstatvfs"
  | "fsync"
  | "copy_data"
  | "limits"
  | "users_groups";

/**
 * How the server will follow a path: `whole` follows a symbolic link at its end, `parent` acts on the last
 * component itself, `text` is not looked up at all (what a new symbolic link says).
 */
export type PathFollow = "whole" | "parent" | "text";

/** One decoded request. Byte fields are views of the packet. */
export type SftpRequest = {
  readonly id: number;
  readonly operation: SftpOperation;
  readonly reads: boolean;
  readonly writes: boolean;
  /** Paths in the order of the packet, with how the server follows each. */
  readonly paths: readonly { readonly bytes: Uint8Array; readonly follow: PathFollow }[];
  /** Handles in the order of the packet. */
  readonly handles: readonly Uint8Array[];
  /** Bytes asked for or sent; 0 where it does not apply. */
  readonly length: number;
  /** What stands before the paths and after them, so that the packet can be written with other paths. */
  readonly head: Uint8Array;
  readonly tail: Uint8Array;
};

export type SftpError = "packet_too_short" | "packet_too_large" | "packet_malformed" | "request_unknown";

/** Cuts a byte stream into packets (without their length). Holds at most one incomplete packet. */
export type SftpFramer = { chunks: Uint8Array[]; held: number };

export function newFramer(): SftpFramer {
  return { chunks: [], held: 0 };
}

/** Takes bytes and returns the packets that are now whole; an error is final. */
export function frame(framer: SftpFramer, bytes: Uint8Array): Result<Uint8Array[], SftpError> {
  const packets: Uint8Array[] = [];
  let rest = bytes;
  while (rest.length > 0) {
    const head =
      framer.held === 0
        ? rest
        : framer.held < 4
          ? concat([...framer.chunks, rest])
          : concat(framer.chunks.slice(0, 1));
    if (framer.held < 4) {
      framer.chunks = [];
      framer.held = 0;
      rest = head;
    }
    if (head.length < 4) {
      hold(framer, rest);
      return ok(packets);
    }
    const length = readUint32(head, 0);
    if (length < 5) return err("packet_too_short");
    if (length > LIMITS.sftp.packet) return err("packet_too_large");
    const missing = 4 + length - framer.held;
    if (rest.length < missing) {
      hold(framer, rest);
      return ok(packets);
    }
    const packet =
      framer.held === 0 ? rest.subarray(0, missing) : concat([...framer.chunks, rest.subarray(0, missing)]);
    packets.push(packet.subarray(4));
    rest = rest.subarray(missing);
    framer.chunks = [];
    framer.held = 0;
  }
  return ok(packets);
}

function hold(framer: SftpFramer, bytes: Uint8Array): void {
  // A copy: the caller's buffer may be used again. Chunk 0 always holds the length once four bytes are there.
  framer.chunks.push(bytes.slice());
  framer.held += bytes.length;
}

/** A packet with its length in front. */
export function withLength(packet: Uint8Array): Uint8Array {
  return concat([uint32(packet.length), packet]);
}

type Shape = {
  readonly operation: SftpOperation;
  readonly paths?: readonly PathFollow[];
  readonly handles?: number;
  readonly effect: "none" | "reads" | "writes";
  /** What follows paths and handles; absent means nothing may follow. */
  readonly tail?: "attributes" | "open" | "read" | "write" | "copy" | "string" | "any";
};

const SHAPES: Readonly<Record<number, Shape>> = {
  [Fxp.OPEN]: { operation: "open", paths: ["whole"], effect: "none", tail: "open" },
  [Fxp.CLOSE]: { operation: "close", handles: 1, effect: "none" },
  [Fxp.READ]: { operation: "read", handles: 1, effect: "reads", tail: "read" },
  [Fxp.WRITE]: { operation: "write", handles: 1, effect: "writes", tail: "write" },
  [Fxp.LSTAT]: { operation: "lstat", paths: ["parent"], effect: "reads" },
  [Fxp.FSTAT]: { operation: "fstat", handles: 1, effect: "reads" },
  [Fxp.SETSTAT]: { operation: "setstat", paths: ["whole"], effect: "writes", tail: "attributes" },
  [Fxp.FSETSTAT]: { operation: "fsetstat", handles: 1, effect: "writes", tail: "attributes" },
  [Fxp.OPENDIR]: { operation: "opendir", paths: ["whole"], effect: "reads" },
  [Fxp.READDIR]: { operation: "readdir", handles: 1, effect: "reads" },
  [Fxp.REMOVE]: { operation: "remove", paths: ["parent"], effect: "writes" },
  [Fxp.MKDIR]: { operation: "mkdir", paths: ["parent"], effect: "writes", tail: "attributes" },
  [Fxp.RMDIR]: { operation: "rmdir", paths: ["parent"], effect: "writes" },
  [Fxp.REALPATH]: { operation: "realpath", paths: ["whole"], effect: "reads" },
  [Fxp.STAT]: { operation: "stat", paths: ["whole"], effect: "reads" },
  [Fxp.RENAME]: { operation: "rename", paths: ["parent", "parent"], effect: "writes" },
  [Fxp.READLINK]: { operation: "readlink", paths: ["parent"], effect: "reads" },
  [Fxp.SYMLINK]: { operation: "symlink", paths: ["text", "parent"], effect: "writes" },
};

/** openssh-portable/PROTOCOL section 4. A name that is not here is refused and not advertised. */
const EXTENSIONS: Readonly<Record<string, Shape>> = {
  "posix-rename@openssh.com": { operation: "rename", paths: ["parent", "parent"], effect: "writes" },
  "statvfs@openssh.com": { operation: "statvfs", paths: ["whole"], effect: "reads" },
  "fstatvfs@openssh.com": { operation: "fstatvfs", handles: 1, effect: "reads" },
  "hardlink@openssh.com": { operation: "hardlink", paths: ["parent", "parent"], effect: "writes" },
  "fsync@openssh.com": { operation: "fsync", handles: 1, effect: "writes" },
  "lsetstat@openssh.com": { operation: "lsetstat", paths: ["parent"], effect: "writes", tail: "attributes" },
  "limits@openssh.com": { operation: "limits", effect: "none" },
  // Names with a tilde, which REALPATH does not know.
  "expand-path@openssh.com": { operation: "expand_path", paths: ["text"], effect: "reads" },
  "home-directory": { operation: "home_directory", effect: "reads", tail: "string" },
  "users-groups-by-id@openssh.com": { operation: "users_groups", effect: "reads", tail: "any" },
};

export function isKnownExtension(name: string): boolean {
  return Object.hasOwn(EXTENSIONS, name) || name === "copy-data";
}

/** The id of a packet, 0 when it has none. */
export function packetId(packet: Uint8Array): number {
  return packet.length >= 5 ? readUint32(packet, 1) : 0;
}

/** Decodes one request of the client (not INIT). */
export function decodeRequest(packet: Uint8Array): Result<SftpRequest, SftpError> {
  const reader = new Reader(packet);
  const type = reader.byte();
  const id = reader.uint32();
  let shape = SHAPES[type];
  let headLength = 5;
  if (type === Fxp.EXTENDED) {
    const name = reader.text(128);
    if (reader.failed) return err("packet_malformed");
    headLength = packet.length - reader.remaining;
    if (name === "copy-data") return copyData(reader, packet, id, headLength);
    shape = Object.hasOwn(EXTENSIONS, name) ? EXTENSIONS[name] : undefined;
  }
  if (shape === undefined) return err("request_unknown");
  const paths = (shape.paths ?? []).map((follow) => ({ bytes: reader.bytes(LIMITS.sftp.path), follow }));
  const handles = Array.from({ length: shape.handles ?? 0 }, () => reader.bytes(LIMITS.sftp.handle));
  if (reader.failed) return err("packet_malformed");
  const tail = packet.subarray(packet.length - reader.remaining);
  let reads = shape.effect === "reads";
  let writes = shape.effect === "writes";
  let length = 0;
  switch (shape.tail) {
    case undefined:
      break;
    case "any":
      reader.rest();
      break;
    case "string":
      reader.bytes();
      break;
    case "attributes":
      skipAttributes(reader);
      break;
    case "open": {
      const flags = reader.uint32();
      skipAttributes(reader);
      reads = (flags & OpenFlag.READ) !== 0;
      // Unknown bits are some server's extension: they count as a change.
      writes = (flags & ~OpenFlag.READ) !== 0;
      if (!reads && !writes) return err("packet_malformed");
      break;
    }
    case "read":
      reader.uint64();
      length = reader.uint32();
      break;
    case "write":
      reader.uint64();
      length = reader.bytes().length;
      break;
    default:
      return err("packet_malformed");
  }
  if (!reader.done()) return err("packet_malformed");
  return ok({
    id,
    operation: shape.operation,
    reads,
    writes,
    paths,
    handles,
    length,
    head: packet.subarray(0, headLength),
    tail,
  });
}

/** copy-data (draft-ietf-secsh-filexfer-extensions-00 section 7): handle, offset, length, handle, offset. */
function copyData(
  reader: Reader,
  packet: Uint8Array,
  id: number,
  headLength: number,
): Result<SftpRequest, SftpError> {
  const from = reader.bytes(LIMITS.sftp.handle);
  reader.uint64();
  const length = reader.uint64();
  const to = reader.bytes(LIMITS.sftp.handle);
  reader.uint64();
  if (!reader.done()) return err("packet_malformed");
  return ok({
    id,
    operation: "copy_data",
    reads: true,
    writes: true,
    paths: [],
    handles: [from, to],
    length,
    head: packet.subarray(0, headLength),
    tail: packet.subarray(headLength),
  });
}

/** File attributes, section 5: a flags word says which fields follow. */
function skipAttributes(reader: Reader): void {
  const flags = reader.uint32();
  if ((flags & 0x1) !== 0) reader.uint64();
  if ((flags & 0x2) !== 0) skip(reader, 2);
  if ((flags & 0x4) !== 0) skip(reader, 1);
  if ((flags & 0x8) !== 0) skip(reader, 2);
  if ((flags & 0x80000000) !== 0) {
    const count = reader.uint32();
    for (let i = 0; i < count && !reader.failed; i++) {
      reader.bytes();
      reader.bytes();
    }
  }
  if ((flags & 0x7ffffff0) !== 0) reader.failed = true;
}

function skip(reader: Reader, words: number): void {
  for (let i = 0; i < words; i++) reader.uint32();
}

/** The request with `paths` in place of its own (same number, same order). */
export function withPaths(request: SftpRequest, paths: readonly string[]): Uint8Array {
  return concat([request.head, ...paths.map((path) => string(path)), request.tail]);
}

export function encodeInit(): Uint8Array {
  return concat([byte(Fxp.INIT), uint32(3)]);
}

export function encodeRealpath(id: number, path: string): Uint8Array {
  return concat([byte(Fxp.REALPATH), uint32(id), string(path)]);
}

export function encodeStatus(id: number, code: number, message: string): Uint8Array {
  return concat([byte(Fxp.STATUS), uint32(id), uint32(code), string(message), string("en")]);
}

/** NAME with one entry and no attributes, the answer to REALPATH. */
export function encodeName(id: number, path: string): Uint8Array {
  return concat([byte(Fxp.NAME), uint32(id), uint32(1), string(path), string(path), uint32(0)]);
}

/** The version and extensions of a VERSION packet. */
export function decodeVersion(
  packet: Uint8Array,
): { version: number; extensions: (readonly [string, Uint8Array])[] } | undefined {
  const reader = new Reader(packet);
  if (reader.byte() !== Fxp.VERSION) return undefined;
  const version = reader.uint32();
  const extensions: (readonly [string, Uint8Array])[] = [];
  while (reader.remaining > 0 && !reader.failed) extensions.push([reader.text(), reader.bytes()]);
  return reader.failed ? undefined : { version, extensions };
}

export function encodeVersion(
  version: number,
  extensions: readonly (readonly [string, Uint8Array])[],
): Uint8Array {
  return concat([
    byte(Fxp.VERSION),
    uint32(version),
    ...extensions.flatMap(([name, value]) => [string(name), string(value)]),
  ]);
}

export type SftpReply =
  | { readonly kind: "status"; readonly code: number; readonly message: string }
  | { readonly kind: "handle"; readonly handle: Uint8Array }
  | { readonly kind: "name"; readonly path: string | undefined }
  | { readonly kind: "other" };

/** What a reply of the server says, as far as the machine needs to know. */
export function decodeReply(packet: Uint8Array): Result<SftpReply, SftpError> {
  const reader = new Reader(packet);
  const type = reader.byte();
  reader.uint32();
  switch (type) {
    case Fxp.STATUS: {
      const code = reader.uint32();
      const message = reader.remaining > 0 ? displayUtf8(reader.bytes()) : "";
      return reader.failed ? err("packet_malformed") : ok({ kind: "status", code, message });
    }
    case Fxp.HANDLE: {
      const handle = reader.bytes(LIMITS.sftp.handle);
      return reader.done() ? ok({ kind: "handle", handle: handle.slice() }) : err("packet_malformed");
    }
    case Fxp.NAME: {
      const count = reader.uint32();
      const name = count === 0 ? EMPTY : reader.bytes(LIMITS.sftp.path);
      if (reader.failed) return err("packet_malformed");
      return ok({ kind: "name", path: count === 0 ? undefined : fromUtf8(name) });
    }
    case Fxp.DATA:
    case Fxp.ATTRS:
    case Fxp.EXTENDED_REPLY:
      return ok({ kind: "other" });
    default:
      return err("packet_malformed");
  }
}

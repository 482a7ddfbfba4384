/**
 * Makes the copy of libpg-query's wasm that the gateway runs.
 *
 * The published module declares 128 MiB of initial memory, all that a Workers isolate may have. Its stack
 * takes 32 MiB and its data 1 MiB, so the copy starts with 40 MiB and may grow to 64 MiB, which is enough for
 * any ordinary statement of LIMITS.postgres.sql bytes; nothing else in it changes. The patch is bound to the exact published bytes.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const PUBLISHED_SHA256 = "378b64e6182f65c71ad5dbd2c31c81e9dfed7d2f2debfb4b51c0d0de8fa2ae36";

/** Contents of the memory section: one memory with a maximum, `initial` and `maximum` in 64 KiB pages (LEB128). */
const PUBLISHED_MEMORY = Uint8Array.of(0x01, 0x01, 0x80, 0x10, 0x80, 0x80, 0x01); // 2048 and 16384 pages
const OUR_MEMORY = Uint8Array.of(0x01, 0x01, 0x80, 0x05, 0x80, 0x88, 0x00); // 640 and 1024 pages
const MEMORY_SECTION = 5;

/** The published wasm with the smaller memory. Throws when the package is not the one that was checked. */
export function patchedWasm(): Uint8Array<ArrayBuffer> {
  const require = createRequire(import.meta.url);
  const bytes = Uint8Array.from(
    readFileSync(join(dirname(require.resolve("libpg-query")), "libpg-query.wasm")),
  );
  const digest = createHash("sha256").update(bytes).digest("hex");
  if (digest !== PUBLISHED_SHA256) {
    throw new Error(
      `libpg-query.wasm is not the one that was checked (sha256 ${digest}); check it and its memory section anew`,
    );
  }
  const at = sectionStart(bytes, MEMORY_SECTION);
  if (!PUBLISHED_MEMORY.every((byte, i) => bytes[at + i] === byte))
    throw new Error("libpg-query.wasm: unexpected memory section");
  bytes.set(OUR_MEMORY, at);
  return bytes;
}

/** Offset of the contents of the section with this id (WebAssembly core specification 5.5.2). */
function sectionStart(bytes: Uint8Array, id: number): number {
  let at = 8;
  while (at < bytes.length) {
    const section = bytes[at++];
    let length = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++] ?? 0;
      length |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    if (section === id) return at;
    at += length;
  }
  throw new Error(`libpg-query.wasm: section ${id} is missing`);
}

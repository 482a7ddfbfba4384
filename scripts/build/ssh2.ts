/**
 * Fits ssh2's transport (key exchange, ciphers, packets) into a Worker's bundle. The gateway uses that part
 * alone: everything above it, authentication and channels, is `wire/ssh/`.
 *
 *  - its native addon, `cpu-features` and the WebAssembly poly1305 do not exist in workerd, and chacha20 is
 *    never offered (worker/objects/session/ssh-transport.ts);
 *  - it asks `crypto.diffieHellman` for X25519 only, and workerd's cannot use a public key that was imported
 *    ("Failed to derive shared diffie-hellman secret"): it gets noble's;
 *  - it gives AES-GCM the tag after the ciphertext, and workerd wants it before ("No auth tag provided"): a packet
 *    is kept until its tag is there, so that nothing unauthenticated is decrypted either;
 *  - its compression reaches into Node's private zlib handle; only `none` is offered;
 *  - the signature algorithms that it tells a client about name SHA-1 and DSA, which it would not take.
 *
 * Each change checks that the text it replaces is there, so that a new version of ssh2 fails the build rather
 * than silently losing one of them.
 */
import { readFile } from "node:fs/promises";
import type { Plugin } from "esbuild";

const STUBS: Readonly<Record<string, string>> = {
  crypto: `
    import { createDecipheriv as native } from "node:crypto";
    import { x25519 } from "@noble/curves/ed25519.js";
    export * from "node:crypto";
    const raw = (key, type) => new Uint8Array(key.export({ type, format: "der" })).slice(-32);
    export function createDecipheriv(name, key, iv) {
      if (!name.endsWith("gcm")) return native(name, key, iv);
      const data = [];
      let aad, tag;
      return {
        setAutoPadding() {},
        setAAD(bytes) { aad = bytes; },
        update(bytes) { data.push(bytes); return Buffer.alloc(0); },
        setAuthTag(bytes) { tag = bytes; },
        final() {
          const decipher = native(name, key, iv);
          decipher.setAutoPadding(false);
          decipher.setAuthTag(tag);
          decipher.setAAD(aad);
          const plain = decipher.update(data.length === 1 ? data[0] : Buffer.concat(data));
          const rest = decipher.final();
          return rest.length === 0 ? plain : Buffer.concat([plain, rest]);
        },
      };
    }
    export function diffieHellman({ privateKey, publicKey }) {
      // Throws for the points of small order that give a secret of zeros (RFC 8731 section 3).
      return Buffer.from(x25519.getSharedSecret(raw(privateKey, "pkcs8"), raw(publicKey, "spki")));
    }`,
  "sshcrypto.node": "throw new Error('no native addon in a Worker');",
  "cpu-features": "module.exports = () => ({});",
  "poly1305.js": "module.exports = async () => ({ _malloc() { return 0; }, cwrap() { return undefined; } });",
  "zlib.js": `
    class PacketWriter {
      constructor(protocol) { this.allocStart = 5; this.allocStartKEX = 5; this._protocol = protocol; }
      cleanup() {}
      alloc(size, force) {
        return this._protocol._kexinit === undefined || force ? this._protocol._cipher.allocPacket(size) : Buffer.allocUnsafe(size);
      }
      finalize(packet) { return packet; }
    }
    class PacketReader { cleanup() {} read(data) { return data; } }
    class None { constructor() { throw new Error("compression is not offered"); } }
    module.exports = { PacketReader, PacketWriter, ZlibPacketReader: None, ZlibPacketWriter: None };`,
};

const SIGNATURE_ALGORITHMS =
  "'ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521'\n      + 'rsa-sha2-512,rsa-sha2-256,ssh-rsa,ssh-dss'";

/** The esbuild plugin; harmless where ssh2 is not imported. */
export function ssh2Transport(): Plugin {
  return {
    name: "ssh2-transport",
    setup(builder) {
      builder.onResolve(
        { filter: /(sshcrypto\.node|poly1305\.js|\/zlib\.js|^cpu-features|^crypto)$/ },
        ({ path, importer }) => {
          if (!/[\\/]ssh2[\\/]lib[\\/]/.test(importer)) return undefined;
          return { path: path.slice(path.lastIndexOf("/") + 1), namespace: "ssh2-stub" };
        },
      );
      builder.onLoad({ filter: /./, namespace: "ssh2-stub" }, ({ path }) => ({
        contents: STUBS[path] ?? "",
        loader: "js",
        resolveDir: import.meta.dirname,
      }));
      builder.onLoad({ filter: /[\\/]ssh2[\\/]lib[\\/]protocol[\\/]Protocol\.js$/ }, async ({ path }) => {
        const text = await readFile(path, "utf8");
        if (!text.includes(SIGNATURE_ALGORITHMS))
          return { errors: [{ text: "ssh2 has changed its signature algorithms: look again" }] };
        return {
          contents: text.replace(SIGNATURE_ALGORITHMS, "'ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256'"),
          loader: "js",
        };
      });
    },
  };
}

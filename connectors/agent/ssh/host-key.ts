/** Whether a server is the one that the config means. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { Reader } from "../../../wire/ssh/reader.ts";
import { HOST_KEY_ALGORITHMS } from "./transport.ts";

export class HostKeyCheck {
  readonly #pinned: readonly string[] | undefined;
  readonly #file: string | undefined;

  /** @param pinned `type base64` or `SHA256:…`; @param file where a first key is kept when nothing is pinned */
  constructor(pinned: readonly string[] | undefined, file: string | undefined) {
    this.#pinned = pinned;
    this.#file = file;
  }

  /** Signature algorithms to ask the server for: those of the pinned keys, else all. */
  get algorithms(): readonly string[] {
    const types = this.#expected()
      .map((key) => key.split(" ")[0] ?? "")
      .filter((type) => !type.startsWith("SHA256:"));
    const known = HOST_KEY_ALGORITHMS.filter((algorithm) =>
      types.includes(algorithm.startsWith("rsa-") ? "ssh-rsa" : algorithm),
    );
    // A fingerprint does not say its type; what says nothing usable is refused when the key is there.
    return known.length === 0 || types.length < this.#expected().length ? HOST_KEY_ALGORITHMS : known;
  }

  /** @param blob the public key as the server sent it */
  verify(blob: Uint8Array): boolean {
    const line = hostKeyLine(blob);
    const fingerprint = hostKeyFingerprint(blob);
    const expected = this.#expected();
    if (expected.length === 0) {
      if (this.#file === undefined) return false;
      // `wx`: of two sessions that meet a host first, one writes and the other reads what it wrote.
      try {
        writeFileSync(this.#file, `${line}\n`, { mode: 0o600, flag: "wx" });
        return true;
      } catch {
        return this.#expected().includes(line);
      }
    }
    return expected.some((key) =>
      key.startsWith("SHA256:")
        ? key.replace(/=$/, "") === fingerprint
        : key.split(" ").slice(0, 2).join(" ") === line,
    );
  }

  #expected(): readonly string[] {
    if (this.#pinned !== undefined) return this.#pinned;
    if (this.#file === undefined || !existsSync(this.#file)) return [];
    // An empty or damaged file is no reason to trust the next key that comes.
    const line = readFileSync(this.#file, "utf8").trim();
    return [line === "" ? "damaged" : line];
  }
}

export function hostKeyLine(blob: Uint8Array): string {
  return `${new Reader(blob).text()} ${Buffer.from(blob).toString("base64")}`;
}

/** As `ssh-keygen -l` prints it. */
export function hostKeyFingerprint(blob: Uint8Array): string {
  return `SHA256:${createHash("sha256").update(blob).digest("base64").replace(/=$/, "")}`;
}

/** Secrets that the gateway makes for itself once and keeps: its SSH host key and what masks are keyed with. */
import { createHmac } from "node:crypto";
import { type SshHostKey, generateSshHostKey } from "../../identity/ssh-host-key.ts";
import type { Resource } from "../../policy/types.ts";
import { randomBytes } from "../identifiers.ts";
import type { Meta } from "../meta.ts";

export class GatewaySecrets {
  readonly #meta: Meta;
  #sshHostKey: SshHostKey | undefined;

  constructor(meta: Meta) {
    this.#meta = meta;
  }

  /** Makes what is not there yet. Nothing else may be called before it has resolved. */
  async prepare(): Promise<void> {
    const stored = this.#meta.get("ssh_host_key");
    // It has to stay the same: clients remember it.
    const key = stored === undefined ? await generateSshHostKey() : (JSON.parse(stored) as SshHostKey);
    if (stored === undefined) this.#meta.set("ssh_host_key", JSON.stringify(key));
    this.#sshHostKey = key;
  }

  get sshHostKey(): SshHostKey {
    if (this.#sshHostKey === undefined) throw new Error("the gateway's secrets are not loaded");
    return this.#sshHostKey;
  }

  /** The key of each resource's `hash` masks, hexadecimal, by the resource's name. */
  maskKeys(resources: readonly Resource[]): Record<string, string> {
    const secret = this.#maskSecret();
    return Object.fromEntries(
      resources.map(({ name }) => [name, createHmac("sha256", secret).update(`mask\n${name}`).digest("hex")]),
    );
  }

  #maskSecret(): string {
    const known = this.#meta.get("mask_secret");
    if (known !== undefined) return known;
    const secret = Buffer.from(randomBytes(32)).toString("hex");
    this.#meta.set("mask_secret", secret);
    return secret;
  }
}

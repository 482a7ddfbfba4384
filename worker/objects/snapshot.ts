/**
 * The configuration that this isolate knows: the newest that any of its objects has met. It is the same for
 * every session and holds no identity, so it may be shared where an identity never may.
 */
import type { SshHostKey } from "../identity/ssh-host-key.ts";
import type { Snapshot } from "./control/types.ts";
import { policyEngine } from "./engines.ts";

let current: Snapshot | undefined;

export function currentSnapshot(): Snapshot | undefined {
  return current;
}

/** Takes a snapshot over if it is newer, and loads its policies. @throws when they do not load: fail closed. */
export function learnSnapshot(snapshot: Snapshot): void {
  if (current !== undefined && current.version >= snapshot.version) return;
  if ((policyEngine.version ?? 0) < snapshot.version) {
    const loaded = policyEngine.load(snapshot.version, snapshot.policies);
    if (!loaded.ok) throw new Error("the policies of the configuration do not load");
  }
  current = snapshot;
}

/** The key of the `hash` masks of a resource, hexadecimal. */
export function maskKeyOf(resource: string): string {
  return current?.maskKeys[resource] ?? "";
}

/** The gateway's SSH host key. @throws without a configuration, when there is no SSH resource to connect to. */
export function sshHostKey(): SshHostKey {
  if (current === undefined) throw new Error("the gateway has no configuration yet");
  return current.sshHostKey;
}

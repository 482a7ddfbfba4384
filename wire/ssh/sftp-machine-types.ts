/** What goes into and comes out of SftpMachine, which stands inside one `sftp` channel. */
import type { Refusal } from "../refusals.ts";
import type { SftpOperation } from "./sftp.ts";

/** One SFTP request to decide. `path` and `target` are canonical: absolute, symbolic links resolved by the server. */
export type SftpAsk = {
  readonly operation: SftpOperation;
  /** What the request does: read only, or (also) change. An `open` for both says both. */
  readonly reads: boolean;
  readonly writes: boolean;
  readonly path: string;
  /** The second path of rename, posix-rename, hardlink, symlink and copy-data; "" where there is none. */
  readonly target: string;
  /** `open` and `opendir` that gave the handle this request uses: the ask's id, whose approval covers it. */
  readonly openedBy: number | undefined;
  /** Bytes asked for or sent. */
  readonly length: number;
};

export type SftpInput =
  | { readonly kind: "clientBytes"; readonly bytes: Uint8Array }
  | { readonly kind: "serverBytes"; readonly bytes: Uint8Array }
  | { readonly kind: "verdict"; readonly ask: number; readonly refusal: Refusal | undefined };

export type SftpEffect =
  | { readonly kind: "toServer"; readonly bytes: Uint8Array }
  | { readonly kind: "toClient"; readonly bytes: Uint8Array }
  /** Decide this; `ask` is the number of the machine's own, to be given back with `verdict`. */
  | { readonly kind: "ask"; readonly ask: number; readonly request: SftpAsk }
  /** The peer broke the protocol; the channel has to end. */
  | { readonly kind: "violation"; readonly reason: string };

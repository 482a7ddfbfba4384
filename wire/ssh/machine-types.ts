/**
 * What goes into and comes out of SshMachine. The machine is the server side of the authentication and
 * connection protocols towards the native client (RFC 4252, RFC 4254); each channel it accepts becomes one
 * channel of the tunnel to the connector. It knows the protocol, not policy: for whatever could have an effect
 * it emits `ask` and waits for a `verdict`. Key exchange and ciphers lie below it, in the transport.
 *
 *   decrypted payload ──► clientPayload ─┐                        ┌─► send        payload for the client
 *   tunnel frames ──────► upstream… ─────┼─► step(state, input) ──┼─► ask         decide this, then send `verdict`
 *   policy ─────────────► verdict ───────┤                        ├─► open, toUpstream, endUpstream …  for the tunnel
 *   room for the client ► clientRoom ────┘                        └─► delivered, ended … for the recording
 */
import type { Refusal } from "../refusals.ts";
import type { Terminal, TerminalSize } from "./messages.ts";
import type { SftpAsk } from "./sftp-machine-types.ts";

/** 0 standard output (and forwarded bytes), 1 standard error. */
export type Stream = 0 | 1;

/** What the machine wants decided. `id` is unique within the session and increases. */
export type SshAsk =
  | {
      readonly kind: "exec";
      readonly id: number;
      readonly channel: number;
      /** The command exactly as sent; not necessarily UTF-8. */
      readonly command: Uint8Array;
      readonly terminal: boolean;
      readonly environment: readonly (readonly [string, string])[];
    }
  | {
      readonly kind: "shell";
      readonly id: number;
      readonly channel: number;
      readonly terminal: boolean;
      readonly environment: readonly (readonly [string, string])[];
    }
  | {
      readonly kind: "forward";
      readonly id: number;
      readonly channel: number;
      readonly host: string;
      readonly port: number;
    }
  | {
      readonly kind: "remoteForward";
      readonly id: number;
      readonly channel: number;
      readonly host: string;
      readonly port: number;
    }
  | { readonly kind: "sftp"; readonly id: number; readonly channel: number; readonly request: SftpAsk };

export type SshVerdict =
  | { readonly id: number; readonly effect: "forward" }
  | { readonly id: number; readonly effect: "refuse"; readonly refusal: Refusal };

/** What one channel of the tunnel reaches; the payload of its OPEN frame (with `protocol: "ssh"` added). */
export type SshTarget =
  | {
      readonly kind: "exec";
      /** base64 of the command's bytes: they need not be UTF-8. */
      readonly command: string;
      readonly terminal?: TerminalOpen;
      readonly environment: readonly (readonly [string, string])[];
    }
  | {
      readonly kind: "shell";
      readonly terminal?: TerminalOpen;
      readonly environment: readonly (readonly [string, string])[];
    }
  | { readonly kind: "sftp" }
  | {
      readonly kind: "forward";
      readonly host: string;
      readonly port: number;
      readonly originHost: string;
      readonly originPort: number;
    }
  | { readonly kind: "remoteForward"; readonly host: string; readonly port: number };

/** A terminal in JSON: the encoded modes are base64. */
export type TerminalOpen = Omit<Terminal, "modes"> & { readonly modes: string };

/** Out-of-band messages of one tunnel channel, its SIGNAL frames. */
export type SshSignal =
  /** To the connector. */
  | ({ readonly type: "window" } & TerminalSize)
  | { readonly type: "signal"; readonly signal: string }
  /** From the connector. */
  | { readonly type: "exit"; readonly status: number }
  | {
      readonly type: "exitSignal";
      readonly signal: string;
      readonly coreDumped: boolean;
      readonly message: string;
    };

export type SshInput =
  /** One decrypted packet's payload. The machine may keep views of it only until the step returns. */
  | { readonly kind: "clientPayload"; readonly payload: Uint8Array }
  /** The client half-closed or went away. */
  | { readonly kind: "clientEnded" }
  /** So many bytes of channel data may be queued for the client's transport from now on (absolute, not added). */
  | { readonly kind: "clientRoom"; readonly bytes: number }
  | { readonly kind: "verdict"; readonly verdict: SshVerdict }
  /** A hold began: say so on the channel's standard error, while it waits. `text` without line end. */
  | { readonly kind: "notice"; readonly id: number; readonly text: string }
  /** The connector has reached what `open` asked for. `port` for a remote forward that left it to the server. */
  | { readonly kind: "upstreamOpened"; readonly channel: number; readonly port?: number }
  | { readonly kind: "upstreamOpenFailed"; readonly channel: number; readonly refusal: Refusal }
  /**
   * Output as the client may see it (after masks). `credit` is how many bytes of the tunnel's credit it stands
   * for; the machine gives it back with `consumed`. Bytes may be empty when a mask swallowed or held them.
   */
  | {
      readonly kind: "upstreamData";
      readonly channel: number;
      readonly stream: Stream;
      readonly bytes: Uint8Array;
      readonly credit: number;
    }
  /** So many bytes of an earlier `toUpstream` have left for the connector. */
  | { readonly kind: "upstreamSent"; readonly channel: number; readonly bytes: number }
  | { readonly kind: "upstreamEnd"; readonly channel: number }
  | { readonly kind: "upstreamClosed"; readonly channel: number; readonly refusal: Refusal | undefined }
  | { readonly kind: "upstreamSignal"; readonly channel: number; readonly signal: SshSignal }
  /** A connection came in on the remote forward `forward`; `channel` was reserved for it (`reserveChannel`). */
  | {
      readonly kind: "upstreamForwarded";
      readonly channel: number;
      readonly forward: number;
      readonly originHost: string;
      readonly originPort: number;
    }
  /** End the session with this refusal (killed, revoked, token expired, connector lost). */
  | { readonly kind: "terminate"; readonly refusal: Refusal };

export type SshEffect =
  | { readonly kind: "send"; readonly payload: Uint8Array }
  | { readonly kind: "ask"; readonly ask: SshAsk }
  /** The client gave up on ask `id` (closed its channel, went away) before it was answered. */
  | { readonly kind: "withdrawn"; readonly id: number }
  /** Authentication is done; `user` is the login name that the client chose. */
  | { readonly kind: "authenticated"; readonly user: string }
  | { readonly kind: "open"; readonly channel: number; readonly target: SshTarget }
  /** Bytes for the connector, in order; answer with `upstreamSent` when the tunnel's credit has let them go. */
  | { readonly kind: "toUpstream"; readonly channel: number; readonly bytes: Uint8Array }
  | { readonly kind: "endUpstream"; readonly channel: number }
  | { readonly kind: "closeUpstream"; readonly channel: number }
  | { readonly kind: "signalUpstream"; readonly channel: number; readonly signal: SshSignal }
  /** The client has accepted the connection `channel` on a remote forward: bytes may flow. */
  | { readonly kind: "acceptForwarded"; readonly channel: number }
  /** The tunnel may have this much credit back on this channel. */
  | { readonly kind: "consumed"; readonly channel: number; readonly credit: number }
  /** What the following `send` delivers of the channel's output, for the recording. */
  | {
      readonly kind: "delivered";
      readonly channel: number;
      readonly stream: Stream;
      readonly bytes: Uint8Array;
    }
  /** What the client sent on the channel (precedes its `toUpstream`), for the recording. */
  | { readonly kind: "received"; readonly channel: number; readonly bytes: Uint8Array }
  | { readonly kind: "resized"; readonly channel: number; readonly columns: number; readonly rows: number }
  /** Ask `id` was refused and the client has been told. */
  | { readonly kind: "refused"; readonly id: number; readonly refusal: Refusal }
  /** The program of a channel ended, or the channel closed without saying how (`exit` undefined). */
  | {
      readonly kind: "ended";
      readonly channel: number;
      readonly exit: { readonly status: number } | { readonly signal: string } | undefined;
    }
  /** Something harmless was refused without being a policy decision (agent forwarding, X11, an unknown request). */
  | { readonly kind: "declined"; readonly what: string }
  /** The connection is over; `refusal` when we ended it. A DISCONNECT has been sent before it. */
  | { readonly kind: "end"; readonly refusal: Refusal | undefined };

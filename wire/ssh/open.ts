/** Payloads of the tunnel's OPEN, OPENED and SIGNAL frames for an `ssh` resource. */
import { z } from "zod";
import { LIMITS } from "../limits.ts";
import { SIGNALS } from "./messages.ts";

const unsigned = z.number().int().min(0).max(0xffffffff);
const port = z.number().int().min(0).max(65_535);
const host = z.string().max(LIMITS.ssh.forwardHost);
const environment = z
  .array(z.tuple([z.string().max(LIMITS.ssh.environmentValue), z.string().max(LIMITS.ssh.environmentValue)]))
  .max(LIMITS.ssh.environment);
const terminal = z.object({
  term: z.string().max(64),
  columns: unsigned,
  rows: unsigned,
  width: unsigned,
  height: unsigned,
  /** base64 of the encoded terminal modes (RFC 4254 section 8). */
  modes: z.string().max(2048),
});

export const SshOpenTarget = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("exec"),
    /** base64 of the command. */
    command: z.string().max(2 * LIMITS.ssh.packet),
    terminal: terminal.optional(),
    environment,
  }),
  z.object({ kind: z.literal("shell"), terminal: terminal.optional(), environment }),
  z.object({ kind: z.literal("sftp") }),
  z.object({ kind: z.literal("forward"), host, port, originHost: host, originPort: unsigned }),
  z.object({ kind: z.literal("remoteForward"), host, port }),
]);

/**
 * OPEN from the Session object. All channels of one session share one connection to the server. Data of `exec`
 * and `shell` from the connector is framed (output-frame.ts); of the others it is bare bytes.
 */
export const SshOpen = z.object({
  protocol: z.literal("ssh"),
  resource: z.string(),
  session: z.string().max(64),
  /** Login name at the server; absent: the connector's own default. */
  login: z.string().max(LIMITS.ssh.user).optional(),
  target: SshOpenTarget,
});
export type SshOpen = z.infer<typeof SshOpen>;

export const SshOpened = z.object({ port: port.optional() });
export type SshOpened = z.infer<typeof SshOpened>;

/** OPEN from the connector: a connection on a remote forward, which is the gateway's channel `forward`. */
export const SshForwarded = z.object({
  protocol: z.literal("ssh"),
  kind: z.literal("forwarded"),
  forward: unsigned,
  originHost: host,
  originPort: unsigned,
});
export type SshForwarded = z.infer<typeof SshForwarded>;

/** SIGNAL to the connector. */
export const SshSignalToServer = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("window"),
    columns: unsigned,
    rows: unsigned,
    width: unsigned,
    height: unsigned,
  }),
  z.object({ type: z.literal("signal"), signal: z.enum(SIGNALS) }),
]);
export type SshSignalToServer = z.infer<typeof SshSignalToServer>;

/** SIGNAL from the connector. */
export const SshSignalFromServer = z.discriminatedUnion("type", [
  z.object({ type: z.literal("exit"), status: unsigned }),
  z.object({
    type: z.literal("exitSignal"),
    signal: z.string().max(64),
    coreDumped: z.boolean(),
    message: z.string().max(1024),
  }),
]);
export type SshSignalFromServer = z.infer<typeof SshSignalFromServer>;

/**
 * The messages of exec and attach over a WebSocket (k8s.io/apimachinery/pkg/util/remotecommand/constants.go and
 * k8s.io/client-go/tools/remotecommand/websocket.go). Every message is binary and begins with its channel:
 *
 *   0 stdin    client to server      3 error   server to client: a metav1.Status as JSON, the last thing
 *   1 stdout   server to client      4 resize  client to server: {"Width":80,"Height":24}
 *   2 stderr   server to client    255 close   client to server, version 5 only: the channel that ends
 *
 * The subprotocol is `v5.channel.k8s.io` or `v4.channel.k8s.io`; the older ones and the base64 ones for browsers are
 * not spoken here.
 */
import { z } from "zod";
import { displayUtf8, fromUtf8 } from "../bytes.ts";
import { type Result, err, ok } from "../result.ts";

export const REMOTE_COMMAND_PROTOCOLS = ["v5.channel.k8s.io", "v4.channel.k8s.io"] as const;
export type RemoteCommandProtocol = (typeof REMOTE_COMMAND_PROTOCOLS)[number];

export type RemoteCommandMessage =
  | { readonly channel: "stdin" | "stdout" | "stderr"; readonly bytes: Uint8Array }
  | { readonly channel: "error"; readonly status: RemoteCommandStatus }
  | { readonly channel: "resize"; readonly columns: number; readonly rows: number }
  /** No more of that channel; of any but stdin it means nothing. */
  | { readonly channel: "close"; readonly closes: Exclude<keyof typeof CHANNELS, "close"> };

/** How the command ended. */
export type RemoteCommandStatus = {
  /** Exit code; undefined when the command did not run to its end. */
  readonly exitCode?: number;
  /** What the server says beyond the exit code, "" for nothing. */
  readonly message: string;
};

const CHANNELS = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const;

const CLOSABLE = ["stdin", "stdout", "stderr", "error", "resize"] as const;

/** A terminal's size, uint16 each (TerminalSize). Go reads keys whatever their case. */
const Size = z.record(z.string(), z.unknown()).transform((size, context) => {
  const side = (name: string): number => {
    const [value, ...more] = Object.entries(size).flatMap(([key, each]) =>
      key.toLowerCase() === name ? [each] : [],
    );
    if (
      more.length === 0 &&
      typeof value === "number" &&
      Number.isInteger(value) &&
      value >= 0 &&
      value < 65_536
    )
      return value;
    context.addIssue({ code: "custom", message: `no ${name}` });
    return 0;
  };
  return { columns: side("width"), rows: side("height") };
});

const Status = z.object({
  status: z.string().optional(),
  message: z.string().optional(),
  reason: z.string().optional(),
  details: z
    .object({
      causes: z.array(z.object({ reason: z.string().optional(), message: z.string().optional() })).nullish(),
    })
    .nullish(),
});

/**
 * A message of the client. `malformed`: nothing that a client sends, so the session cannot know what the server
 * would make of it.
 */
export function readClientMessage(
  bytes: Uint8Array,
  protocol: RemoteCommandProtocol,
): Result<RemoteCommandMessage, "malformed"> {
  const rest = bytes.subarray(1);
  switch (bytes[0]) {
    case CHANNELS.stdin:
      return ok({ channel: "stdin", bytes: rest });
    case CHANNELS.resize: {
      const size = Size.safeParse(json(rest));
      return size.success ? ok({ channel: "resize", ...size.data }) : err("malformed");
    }
    case CHANNELS.close: {
      const closes = CLOSABLE.find((name) => CHANNELS[name] === rest[0]);
      return protocol === "v5.channel.k8s.io" && rest.length === 1 && closes !== undefined
        ? ok({ channel: "close", closes })
        : err("malformed");
    }
    default:
      return err("malformed");
  }
}

/** A message of the server. */
export function readServerMessage(bytes: Uint8Array): Result<RemoteCommandMessage, "malformed"> {
  const rest = bytes.subarray(1);
  switch (bytes[0]) {
    case CHANNELS.stdout:
      return ok({ channel: "stdout", bytes: rest });
    case CHANNELS.stderr:
      return ok({ channel: "stderr", bytes: rest });
    case CHANNELS.error:
      return ok({ channel: "error", status: readStatus(rest) });
    // Servers open every channel with an empty message, those that they only read from too.
    case CHANNELS.stdin:
      return rest.length === 0 ? ok({ channel: "stdin", bytes: rest }) : err("malformed");
    default:
      return err("malformed");
  }
}

const SHOWN_MESSAGE = 1_000;

/** Success is exit code 0; a Failure with the reason NonZeroExitCode names the code in a cause. */
function readStatus(bytes: Uint8Array): RemoteCommandStatus {
  const status = Status.safeParse(json(bytes));
  // Older servers write plain text.
  if (!status.success) return { message: displayUtf8(bytes.subarray(0, SHOWN_MESSAGE)) };
  const { status: outcome, message = "", reason, details } = status.data;
  if (outcome === "Success") return { exitCode: 0, message: "" };
  const code = details?.causes?.find((cause) => cause.reason === "ExitCode")?.message ?? "";
  if (reason === "NonZeroExitCode" && /^\d{1,3}$/.test(code)) return { exitCode: Number(code), message };
  return { message };
}

function json(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(fromUtf8(bytes) ?? "");
  } catch {
    return undefined;
  }
}

/** Bytes of a message in either direction, for ending a stream with our own words. */
export function writeRemoteCommand(channel: "stdout" | "stderr" | "error", payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(payload.length + 1);
  bytes[0] = CHANNELS[channel];
  bytes.set(payload, 1);
  return bytes;
}

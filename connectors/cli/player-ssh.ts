/** The events of an SSH session, and of what runs in a pod, as lines for a person. */
import { z } from "zod";

const Channel = { channel: z.number() };
const Content = { text: z.string().optional(), base64: z.string().optional() };
const Totals = z.looseObject({ bytes: z.number(), truncated: z.boolean().optional() }).optional();
const Decision = z.looseObject({
  effect: z.string(),
  policies: z.array(z.looseObject({ id: z.string() })).optional(),
});

const Body = z.discriminatedUnion("type", [
  z.looseObject({
    type: z.literal("operation"),
    operation: z.number(),
    ...Channel,
    kind: z.string(),
    text: z.string(),
    decision: Decision,
    approval: z.string().optional(),
  }),
  z.looseObject({ type: z.literal("output"), ...Channel, stream: z.number(), ...Content }),
  z.looseObject({ type: z.literal("input"), ...Channel, ...Content }),
  z.looseObject({ type: z.literal("resize"), ...Channel, columns: z.number(), rows: z.number() }),
  z.looseObject({ type: z.literal("signal"), ...Channel, signal: z.string() }),
  z.looseObject({
    type: z.literal("detected"),
    ...Channel,
    stream: z.number(),
    kinds: z.array(z.string()),
    action: z.string(),
  }),
  z.looseObject({ type: z.literal("declined"), what: z.string() }),
  z.looseObject({ type: z.literal("open_failed"), ...Channel, code: z.string(), reason: z.string() }),
  z.looseObject({
    type: z.literal("channel"),
    ...Channel,
    exit: z.union([z.looseObject({ status: z.number() }), z.looseObject({ signal: z.string() })]).optional(),
    output: Totals,
    errorOutput: Totals,
    input: Totals,
  }),
]);

/** The lines of an event, or undefined when it is none of SSH's. Their text is not yet safe for a terminal. */
export function sshLinesOf(event: unknown): string[] | undefined {
  const parsed = Body.safeParse(event);
  if (!parsed.success) return undefined;
  const body = parsed.data;
  switch (body.type) {
    case "operation": {
      const { effect, policies = [] } = body.decision;
      const by = policies.length === 0 ? effect : `${effect} by ${policies.map(({ id }) => id).join(", ")}`;
      const ran = body.approval === undefined ? by : `approved (${body.approval}; ${by})`;
      return [`[${body.operation}] channel ${body.channel}: ${ran}`, body.text];
    }
    case "output":
      return [`channel ${body.channel} ${body.stream === 1 ? "error output" : "output"}`, ...content(body)];
    case "input":
      return [`channel ${body.channel} input`, ...content(body)];
    case "resize":
      return [`channel ${body.channel} is now ${body.columns} by ${body.rows}`];
    case "signal":
      return [`channel ${body.channel} gets signal ${body.signal}`];
    case "detected":
      return [`channel ${body.channel}: ${body.kinds.join(", ")} in its output (${body.action})`];
    case "declined":
      return [`declined: ${body.what}`];
    case "open_failed":
      return [`channel ${body.channel} could not be opened: ${body.code}: ${body.reason}`];
    case "channel": {
      const exit =
        body.exit === undefined
          ? "closed"
          : "status" in body.exit
            ? `exit ${String(body.exit["status"])}`
            : `signal ${body.exit.signal}`;
      const totals = [
        ["input", body.input] as const,
        ["output", body.output] as const,
        ["error output", body.errorOutput] as const,
      ].flatMap(([name, total]) =>
        total === undefined
          ? []
          : [`${name} ${total.bytes} bytes${total.truncated === true ? " (a part is kept)" : ""}`],
      );
      return [`channel ${body.channel}: ${[exit, ...totals].join(", ")}`];
    }
  }
}

function content({ text, base64 }: { text?: string | undefined; base64?: string | undefined }): string[] {
  return (text ?? `base64:${base64 ?? ""}`).replace(/\r?\n$/, "").split(/\r?\n/);
}

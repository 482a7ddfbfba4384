/** The events of a session with an HTTP service or a cluster (worker/objects/session/http.ts) as lines for a person. */
import { z } from "zod";

const Content = { text: z.string().optional(), base64: z.string().optional() };
const Part = z.looseObject({ bytes: z.number(), truncated: z.boolean().optional() }).optional();
const Policies = z.array(z.looseObject({ id: z.string() })).optional();

const Body = z.discriminatedUnion("type", [
  z.looseObject({
    type: z.literal("operation"),
    operation: z.number(),
    kind: z.enum(["request", "web_socket"]),
    text: z.string(),
    decision: z.looseObject({ effect: z.string(), policies: Policies }),
    approval: z.string().optional(),
  }),
  z.looseObject({ type: z.literal("request_body"), operation: z.number(), ...Content }),
  z.looseObject({ type: z.literal("response"), operation: z.number(), status: z.number() }),
  z.looseObject({ type: z.literal("response_body"), operation: z.number(), ...Content }),
  z.looseObject({
    type: z.literal("completed"),
    operation: z.number(),
    status: z.number(),
    request: Part,
    response: Part,
    masked: z.record(z.string(), z.number()).optional(),
    code: z.string().optional(),
    reason: z.string().optional(),
  }),
  z.looseObject({
    type: z.literal("open_failed"),
    operation: z.number(),
    text: z.string(),
    code: z.string(),
    reason: z.string(),
  }),
  z.looseObject({
    type: z.literal("forwarded"),
    operation: z.number(),
    connections: z.number(),
    sent: z.number(),
    received: z.number(),
  }),
]);

/** The lines of an event, or undefined when it is none of HTTP's. Their text is not yet safe for a terminal. */
export function httpLinesOf(event: unknown): string[] | undefined {
  const parsed = Body.safeParse(event);
  if (!parsed.success) return undefined;
  const body = parsed.data;
  const mark = `[${body.operation}]`;
  switch (body.type) {
    case "operation": {
      const { effect, policies = [] } = body.decision;
      const by = policies.length === 0 ? effect : `${effect} by ${policies.map(({ id }) => id).join(", ")}`;
      return [
        `${mark} ${body.approval === undefined ? by : `approved (${body.approval}; ${by})`}`,
        body.text,
      ];
    }
    case "request_body":
      return [`${mark} sent`, ...content(body)];
    case "response":
      return [`${mark} answered ${body.status}`];
    case "response_body":
      return [`${mark} received`, ...content(body)];
    case "completed": {
      const { request, response, masked = {}, code, reason } = body;
      const sizes = [...size("sent", request), ...size("received", response)];
      const hidden = Object.entries(masked).map(([what, times]) => `${what} (${times})`);
      return [
        `${mark} ${code === undefined ? "done" : `broken off: ${code}: ${reason ?? ""}`}${sizes.length === 0 ? "" : `, ${sizes.join(", ")}`}`,
        ...(hidden.length === 0 ? [] : [`masked: ${hidden.join(", ")}`]),
      ];
    }
    case "open_failed":
      return [`${mark} could not be sent: ${body.code}: ${body.reason}`, body.text];
    case "forwarded":
      return [
        `${mark} forwarded ${body.connections} connections, sent ${body.sent} bytes, received ${body.received} bytes`,
      ];
  }
}

function size(what: string, part: z.infer<typeof Part>): string[] {
  if (part === undefined) return [];
  return [`${what} ${part.bytes} bytes${part.truncated === true ? " (not all is kept)" : ""}`];
}

function content({ text, base64 }: { text?: string | undefined; base64?: string | undefined }): string[] {
  return (text ?? `base64:${base64 ?? ""}`).replace(/\r?\n$/, "").split(/\r?\n/);
}

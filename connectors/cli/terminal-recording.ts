/**
 * Terminals in a recording, of SSH channels and of execs in containers: which there were, and what happened on each.
 * Events are those of worker/objects/session/ssh.ts, kubernetes-command.ts and channel-log.ts.
 */
import { z } from "zod";
import type { TerminalEvent, TerminalHeader } from "../../wire/ssh/asciicast.ts";
import type { Hashed } from "./chain.ts";

const Channel = { channel: z.number().int() };
const Content = { text: z.string().optional(), base64: z.string().optional() };

const Body = z.discriminatedUnion("type", [
  z.looseObject({ type: z.literal("session"), resource: z.string() }),
  z.looseObject({
    type: z.literal("operation"),
    ...Channel,
    text: z.string(),
    terminal: z
      .union([z.boolean(), z.looseObject({ term: z.string(), columns: z.number(), rows: z.number() })])
      .optional(),
  }),
  z.looseObject({ type: z.literal("output"), ...Channel, stream: z.number(), ...Content }),
  z.looseObject({ type: z.literal("input"), ...Channel, ...Content }),
  z.looseObject({ type: z.literal("resize"), ...Channel, columns: z.number(), rows: z.number() }),
  z.looseObject({
    type: z.literal("channel"),
    ...Channel,
    exit: z.union([z.looseObject({ status: z.number() }), z.looseObject({ signal: z.string() })]).optional(),
  }),
]);

export type TerminalReader = {
  /** Channels that had a terminal, in the order of their start. */
  readonly channels: readonly number[];
  /** Takes the next event of the recording; what it means for the chosen terminal. */
  readonly take: (event: Hashed) => { header?: TerminalHeader; events: readonly TerminalEvent[] };
};

/** @param wanted the channel to read; undefined for the first that has a terminal */
export function newTerminalReader(wanted: number | undefined): TerminalReader {
  const channels: number[] = [];
  let resource = "";
  let chosen: number | undefined;
  // Characters may be cut between two events.
  const decoders = { output: new TextDecoder(), input: new TextDecoder() };
  const text = (
    kind: "output" | "input",
    body: { text?: string | undefined; base64?: string | undefined },
  ): string => {
    const bytes =
      body.base64 === undefined
        ? new TextEncoder().encode(body.text ?? "")
        : Buffer.from(body.base64, "base64");
    return decoders[kind].decode(bytes, { stream: true });
  };
  return {
    channels,
    take: (event) => {
      const parsed = Body.safeParse(event.body);
      const at = Date.parse(event.at);
      if (!parsed.success || Number.isNaN(at)) return { events: [] };
      const body = parsed.data;
      if (body.type === "session") {
        resource = body.resource;
        return { events: [] };
      }
      if (body.type === "operation") {
        const { terminal, channel } = body;
        if (typeof terminal !== "object") return { events: [] };
        channels.push(channel);
        if (chosen !== undefined || (wanted !== undefined && wanted !== channel)) return { events: [] };
        chosen = channel;
        const { term, columns, rows } = terminal;
        return {
          header: { startedAt: at, columns, rows, term, title: `${resource}: ${body.text}` },
          events: [],
        };
      }
      if (body.channel !== chosen) return { events: [] };
      switch (body.type) {
        case "output":
        case "input": {
          const said = text(body.type, body);
          return { events: said === "" ? [] : [{ kind: body.type, at, text: said }] };
        }
        case "resize":
          return { events: [{ kind: "resize", at, columns: body.columns, rows: body.rows }] };
        case "channel": {
          const status =
            body.exit !== undefined && "status" in body.exit ? Number(body.exit["status"]) : undefined;
          return { events: status === undefined ? [] : [{ kind: "exit", at, status }] };
        }
      }
    },
  };
}

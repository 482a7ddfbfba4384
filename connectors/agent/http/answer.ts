/** How an upstream's answer, or its failure, goes back over the channel. */
import type { Readable } from "node:stream";
import type { HeaderField } from "../../../wire/http/headers.ts";
import type { HttpOpen } from "../../../wire/http/open.ts";
import { type CloseReason, DONE, type TunnelChannel } from "../../lib/tunnel-socket.ts";
import { relocate } from "./location.ts";

/** The answer's head and body. */
export function sendAnswer(
  channel: TunnelChannel,
  open: HttpOpen,
  address: URL,
  status: number,
  fields: readonly HeaderField[],
  body: Readable,
): void {
  const location = fields.find(([name]) => name === "location")?.[1];
  channel.accept({});
  channel.signal({
    type: "head",
    status,
    headers: fields.filter(([name]) => name !== "location"),
    ...(location === undefined ? {} : { location: relocate(location, address, open.target) }),
  });
  body.once("error", () =>
    channel.close({ code: "upstream_lost", message: "the service broke its answer off" }),
  );
  body.once("end", () => channel.finish(DONE));
  channel.once("close", () => body.destroy());
  body.pipe(channel, { end: false });
}

/** Header fields from a flat list of names and values, names in lower case. */
export function rawFields(raw: unknown): HeaderField[] {
  const list = Array.isArray(raw) ? (raw as unknown[]).map(String) : [];
  const fields: HeaderField[] = [];
  for (let at = 0; at + 1 < list.length; at += 2)
    fields.push([(list[at] ?? "").toLowerCase(), list[at + 1] ?? ""]);
  return fields;
}

/** Safe to show: no address, no content. */
export function failed(resource: string, what: string, code = "upstream_unreachable"): CloseReason {
  return { code, message: `${resource} ${what}` };
}

/** undici's and Node's codes, in words; whatever else there is may hold an address. */
export function safeReason(error: unknown): string {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  switch (code) {
    case "ECONNREFUSED":
      return "connection refused";
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return "its host name is not found";
    case "UND_ERR_CONNECT_TIMEOUT":
    case "ETIMEDOUT":
      return "connecting took too long";
    case "UND_ERR_HEADERS_TIMEOUT":
      return "it took too long";
    case "UND_ERR_HEADERS_OVERFLOW":
      return "its headers are too large";
    case "ECONNRESET":
    case "UND_ERR_SOCKET":
      return "the connection was lost";
    default:
      return code !== undefined && /CERT|TLS|SSL|ALTNAME|UNABLE_TO_/.test(code)
        ? "its certificate is not trusted"
        : "the connection failed";
  }
}

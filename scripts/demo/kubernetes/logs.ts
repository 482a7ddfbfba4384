/** `pods/log`: what a container has written, and with `follow` what it goes on to write. */
import type { ServerResponse } from "node:http";
import type { Container, LogLine } from "./containers.ts";

export function serveLog(container: Container, query: URLSearchParams, response: ServerResponse): void {
  const number = (name: string): number | undefined => {
    const value = query.get(name);
    return value === null || !/^\d+$/.test(value) ? undefined : Number(value);
  };
  const stamped = query.get("timestamps") === "true";
  const write = ({ at, text }: LogLine): string =>
    `${stamped ? `${new Date(at).toISOString()} ` : ""}${text}\n`;
  const seconds = number("sinceSeconds");
  const time = Date.parse(query.get("sinceTime") ?? "");
  const since = seconds === undefined ? (Number.isNaN(time) ? 0 : time) : Date.now() - seconds * 1000;
  let lines = container.log().filter(({ at }) => at >= since);
  const tail = number("tailLines");
  if (tail !== undefined) lines = tail === 0 ? [] : lines.slice(-tail);
  let left = number("limitBytes") ?? Number.POSITIVE_INFINITY;
  const send = (line: LogLine): void => {
    const bytes = Buffer.from(write(line)).subarray(0, Math.min(left, Number.MAX_SAFE_INTEGER));
    left -= bytes.length;
    response.write(bytes);
    if (left <= 0) response.end();
  };
  response.writeHead(200, { "content-type": "text/plain" });
  response.flushHeaders();
  for (const line of lines) if (left > 0) send(line);
  if (query.get("follow") !== "true" || container.exit !== undefined) return void response.end();
  const done = (): void => void response.end();
  container.on("log", send).once("exit", done);
  response.once("close", () => container.off("log", send).off("exit", done));
}

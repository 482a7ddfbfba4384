import { type Session, Session as SessionAnswer, Sessions } from "../answers.ts";
import type { Command } from "../command.ts";
import { usage } from "../failure.ts";
import { list, show } from "../listing.ts";
import { fields } from "../terminal.ts";

const ID = { name: "SESSION", about: "the session's id" };

export const sessionsLs: Command = {
  name: "sessions ls",
  summary: "list sessions, newest first",
  positionals: [],
  options: {
    live: { about: "only those that are open" },
    limit: { value: "N", about: "how many at most (default 50)" },
  },
  run: async (context, given) => {
    const limit = given.values.get("limit") ?? "50";
    if (!/^[1-9]\d{0,4}$/.test(limit)) return usage(`--limit ${limit} is not a number from 1 to 99999`);
    const status = given.flags.has("live") ? "live" : "all";
    return list(context, {
      schema: Sessions,
      path: `/v1/sessions?status=${status}&limit=${limit}`,
      columns: ["ID", "STATUS", "RESOURCE", "PRINCIPAL", "STARTED", "OPERATIONS", "DENIED", "HELD", "ROWS"],
      rows: ({ sessions }) =>
        sessions.map((session) => [
          session.id,
          session.status,
          session.resource,
          session.principal.name,
          session.startedAt,
          String(session.operations),
          String(session.denied),
          String(session.held),
          String(session.rows),
        ]),
      empty: status === "live" ? "no session is open" : "there has been no session yet",
    });
  },
};

export const sessionsShow: Command = {
  name: "sessions show",
  summary: "show one session",
  positionals: [ID],
  options: {},
  run: (context, given) =>
    show(
      context,
      SessionAnswer,
      describe,
      "GET",
      `/v1/sessions/${encodeURIComponent(given.positionals[0] ?? "")}`,
    ),
};

export const sessionsKill: Command = {
  name: "sessions kill",
  summary: "end a session now",
  about: `Its client gets a FATAL error. The reason (--reason) is recorded.`,
  positionals: [ID],
  options: {},
  run: (context, given) =>
    show(
      context,
      SessionAnswer,
      describe,
      "POST",
      `/v1/sessions/${encodeURIComponent(given.positionals[0] ?? "")}/kill`,
      context.reason === undefined ? {} : { reason: context.reason },
    ),
};

function describe(session: Session): string {
  const { principal } = session;
  return fields([
    ["session", session.id],
    ["status", session.status],
    ["resource", `${session.resource} (${session.protocol})`],
    [
      "principal",
      `${principal.name} (${principal.type.toLowerCase()}, ${principal.subject} at ${principal.issuer})`,
    ],
    ["groups", principal.groups.join(", ")],
    ["through", session.actors?.map(({ name }) => name).join(", on behalf of ")],
    ["task", session.tasks?.map(({ id, name }) => (name === "" ? id : `${name} (${id})`)).join(" > ")],
    ["started", session.startedAt],
    ["ended", session.endedAt],
    ["because", session.endReason],
    ["operations", `${session.operations}, ${session.denied} denied, ${session.held} held`],
    ["rows", String(session.rows)],
  ]);
}

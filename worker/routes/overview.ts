/** Searching sessions, and numbers over them. What the caller may not see is not in the answers. */
import { Hono } from "hono";
import { z } from "zod";
import { refusal } from "../../wire/refusals.ts";
import { controlOf } from "../env.ts";
import { readCursor } from "../objects/control/search.ts";
import { type Authenticated, authenticate } from "./authenticate.ts";
import { limitOf } from "./limit.ts";
import { problem } from "./problem.ts";
import { showSession, time } from "./show.ts";

export const overview = new Hono<Authenticated>();
overview.use("/v1/search/*", authenticate);
overview.use("/v1/statistics", authenticate);

const MAX_FOUND = 100;
const DAY = 24 * 3_600_000;
const LONGEST = 31 * DAY;

const moment = z
  .string()
  .max(40)
  .transform((text) => Date.parse(text))
  .refine((at) => Number.isFinite(at), "is a time such as 2026-11-22T15:00:00Z");

const Query = z.object({
  person: z.string().min(1).max(256).optional(),
  resource: z.string().min(1).max(128).optional(),
  relation: z.string().min(1).max(256).optional(),
  text: z.string().min(1).max(1000).optional(),
  decision: z.enum(["allow", "hold", "deny"]).optional(),
  from: moment.optional(),
  to: moment.optional(),
  status: z.enum(["live", "all"]).optional(),
  before: z.string().max(64).optional(),
  limit: z.string().optional(),
});

overview.get("/v1/search/sessions", async (context) => {
  // A field of a form that is left empty asks nothing.
  const given = Object.entries(context.req.query()).filter(([, value]) => value !== "");
  const parsed = Query.safeParse(Object.fromEntries(given));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return problem(context, refusal("request_invalid", `${issue?.path.join(".")}: ${issue?.message}`));
  }
  const { status, before, limit, person, resource, relation, text, decision, from, to } = parsed.data;
  const cursor = readCursor(before);
  const found = await controlOf(context.env).searchSessions(
    context.var.token.principal,
    {
      liveOnly: status === "live",
      ...(cursor === undefined ? {} : { before: cursor }),
      ...(person === undefined ? {} : { person }),
      ...(resource === undefined ? {} : { resource }),
      ...(relation === undefined ? {} : { relation }),
      ...(text === undefined ? {} : { text }),
      ...(decision === undefined ? {} : { decision }),
      ...(from === undefined ? {} : { from }),
      ...(to === undefined ? {} : { to }),
    },
    limitOf(limit, MAX_FOUND),
  );
  return context.json(
    {
      sessions: found.sessions.map(({ matches, ...session }) => ({
        ...showSession(session),
        ...(matches === undefined
          ? {}
          : { matches: matches.map((match) => ({ ...match, at: time(match.at) })) }),
      })),
      ...(found.next === undefined ? {} : { next: found.next }),
    },
    200,
    { "cache-control": "no-store" },
  );
});

overview.get("/v1/statistics", async (context) => {
  const { from, to, resource } = context.req.query();
  const end = to === undefined ? Date.now() : Date.parse(to);
  const start = from === undefined ? end - DAY : Date.parse(from);
  if (!(start < end) || end - start > LONGEST) {
    return problem(context, refusal("request_invalid", "from and to are times, at most 31 days apart"));
  }
  const numbers = await controlOf(context.env).statistics(context.var.token.principal, resource, {
    from: start,
    to: end,
  });
  return context.json(numbers, 200, { "cache-control": "no-store" });
});

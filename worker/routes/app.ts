/** All routes of the gateway. */
import { Hono } from "hono";
import { z } from "zod";
import { refusal } from "../../wire/refusals.ts";
import { type Bindings, controlOf } from "../env.ts";
import { api } from "./api.ts";
import { approvals, slack } from "./approvals.ts";
import { readJson } from "./body.ts";
import { config } from "./config.ts";
import { consoleConfig } from "./console-config.ts";
import { console_ } from "./console.ts";
import { consoleFiles } from "./console-files.ts";
import { identity } from "./identity.ts";
import { requests } from "./requests.ts";
import { oauth } from "./oauth.ts";
import { origins } from "./origins.ts";
import { answer, problem } from "./problem.ts";
import { saml } from "./saml.ts";
import { scim } from "./scim.ts";
import { overview } from "./overview.ts";
import { sockets } from "./sockets.ts";
import { stream } from "./stream.ts";

export const app = new Hono<{ Bindings: Bindings }>();

const VERSION = "0.1.0";

// First: on a resource's origin nothing of the gateway's own exists.
app.use("*", origins);

app.get("/healthz", (context) => context.json({ status: "ok", version: VERSION }));

const Enrolment = z.object({ token: z.string().max(200), name: z.string().max(128), publicKey: z.unknown() });
app.post("/connector/enroll", async (context) => {
  const body = await readJson(context, Enrolment);
  if (!body.ok) return problem(context, body.error);
  const { token, name, publicKey } = body.value;
  return answer(context, await controlOf(context.env).enroll(token, name, publicKey));
});

app.route("/", oauth);
app.route("/", slack);
app.route("/", sockets);
app.route("/", requests);
app.route("/", config);
app.route("/", consoleConfig);
app.route("/", approvals);
app.route("/", api);
app.route("/", identity);
app.route("/", saml);
app.route("/", scim);

app.route("/", stream);
app.route("/", overview);
app.route("/", console_);

// Last: any address below /console that is nothing else is a page.
app.route("/", consoleFiles);

app.notFound((context) => problem(context, refusal("not_found", `there is nothing at ${context.req.path}`)));

app.onError((error, context) => {
  console.error(`request failed: ${error.stack ?? error.message}`);
  return problem(context, refusal("internal", "the gateway failed; it has been logged"));
});

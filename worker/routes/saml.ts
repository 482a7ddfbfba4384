/** SAML 2.0 web sign-in: to the provider, back from it, and what its administrator has to know (docs/identity.md). */
import { type Context, Hono } from "hono";
import { LIMITS } from "../../wire/limits.ts";
import { refusal } from "../../wire/refusals.ts";
import { type Bindings, controlOf, readSettings } from "../env.ts";
import { parseLoginRequest } from "../identity/code-grant.ts";
import type { SamlProvider } from "../identity/saml/provider.ts";
import { metadataDocument, signOnAddress } from "../identity/saml/request.ts";
import { readSamlResponse } from "../identity/saml/response.ts";
import { readText } from "./body.ts";
import { problem } from "./problem.ts";

type Saml = { Bindings: Bindings; Variables: { provider: SamlProvider } };

export const saml = new Hono<Saml>();

saml.use("/saml/:name/:part", async (context, next) => {
  const name = context.req.param("name");
  const provider = await controlOf(context.env).samlProvider(name);
  if (provider === undefined) {
    return problem(context, refusal("not_found", `there is no SAML provider ${name.slice(0, 64)}`));
  }
  context.set("provider", provider);
  return next();
});

saml.get("/saml/:name/metadata", (context) =>
  context.body(metadataDocument(readSettings(context.env).publicUrl, context.var.provider.name), 200, {
    "content-type": "application/samlmetadata+xml",
  }),
);

saml.get("/saml/:name/login", async (context) => {
  const asked = parseLoginRequest(new URL(context.req.url).searchParams);
  if (!asked.ok) return problem(context, refusal("request_invalid", asked.error));
  const { provider } = context.var;
  // Set by Cloudflare on every request and not to be forged there; elsewhere nobody says who it is.
  const source = context.req.header("cf-connecting-ip");
  const begun = await controlOf(context.env).beginSamlLogin(provider.name, asked.value, source);
  if (!begun.ok) return problem(context, begun.error);
  const { publicUrl } = readSettings(context.env);
  return leave(context, await signOnAddress(provider, publicUrl, begun.value, Date.now()), 302);
});

saml.post("/saml/:name/acs", async (context) => {
  const type = context.req.header("content-type")?.split(";")[0]?.trim().toLowerCase();
  if (type !== "application/x-www-form-urlencoded") {
    return problem(
      context,
      refusal("request_invalid", "the body has to be application/x-www-form-urlencoded"),
    );
  }
  const body = await readText(context.req.raw);
  if (!body.ok) return problem(context, body.error);
  const responses = new URLSearchParams(body.value).getAll("SAMLResponse");
  const [response = "", ...more] = responses;
  const { provider } = context.var;
  const { publicUrl } = readSettings(context.env);
  const read =
    more.length > 0 || response.length > LIMITS.saml.document * 2
      ? undefined
      : readSamlResponse(response, provider, publicUrl, Date.now());
  if (read?.ok !== true) {
    // For administrators; the sender learns nothing of which check it was.
    console.warn(`saml response of ${provider.name} refused: ${read?.error ?? "form"}`);
    return problem(context, refused(provider));
  }
  const outcome = await controlOf(context.env).finishSamlLogin(provider.name, read.value);
  if (outcome === undefined) return problem(context, refused(provider));
  const address = new URL(outcome.redirectUri);
  address.searchParams.set("code", outcome.code);
  address.searchParams.set("state", outcome.state);
  // 303: the browser goes on with GET and leaves the response behind.
  return leave(context, address.href, 303);
});

function refused(provider: SamlProvider) {
  return refusal("token_invalid", `the sign-in at ${provider.name} is not accepted here`, {
    hint: "start again with: sally login; if it stays, an administrator finds the reason in the gateway's log",
  });
}

/** The address holds a secret or begins a login: neither is to be kept or passed on. */
function leave(context: Context<Saml>, address: string, status: 302 | 303): Response {
  context.header("cache-control", "no-store");
  context.header("referrer-policy", "no-referrer");
  return context.redirect(address, status);
}

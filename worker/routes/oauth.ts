/** Tokens: exchange (RFC 8693), metadata (RFC 8414), public keys, and where people may log in. */
import { Hono } from "hono";
import { type Bindings, controlOf, readSettings } from "../env.ts";
import { ACCESS_TOKEN_TYPE, TOKEN_EXCHANGE_GRANT } from "../identity/token-exchange.ts";
import { readText } from "./body.ts";
import { problem } from "./problem.ts";

export const oauth = new Hono<{ Bindings: Bindings }>();

oauth.get("/.well-known/jwks.json", async (context) =>
  context.json({ keys: await controlOf(context.env).verificationKeys() }, 200, {
    "cache-control": "max-age=60",
  }),
);

oauth.get("/.well-known/oauth-authorization-server", (context) => {
  const { publicUrl } = readSettings(context.env);
  return context.json({
    issuer: publicUrl,
    token_endpoint: `${publicUrl}/oauth/token`,
    jwks_uri: `${publicUrl}/.well-known/jwks.json`,
    grant_types_supported: [TOKEN_EXCHANGE_GRANT],
    token_endpoint_auth_methods_supported: ["none"],
    response_types_supported: [],
  });
});

oauth.get("/v1/login", async (context) =>
  context.json({ issuers: await controlOf(context.env).loginIssuers() }, 200, {
    "cache-control": "no-store",
  }),
);

oauth.post("/oauth/token", async (context) => {
  const form = await readText(context.req.raw);
  if (!form.ok) return problem(context, form.error);
  const exchanged = await controlOf(context.env).exchange(form.value);
  const headers = { "cache-control": "no-store" };
  if (!exchanged.ok) return context.json(exchanged.error.body, exchanged.error.status, headers);
  const { token, expiresAt } = exchanged.value;
  return context.json(
    {
      access_token: token,
      issued_token_type: ACCESS_TOKEN_TYPE,
      token_type: "Bearer",
      expires_in: Math.max(1, Math.floor((expiresAt - Date.now()) / 1000)),
    },
    200,
    headers,
  );
});

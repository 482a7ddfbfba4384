/** Tokens: exchange (RFC 8693), metadata (RFC 8414), public keys, and where people may log in. */
import { Hono } from "hono";
import { LIMITS } from "../../wire/limits.ts";
import { type Bindings, controlOf, readSettings } from "../env.ts";
import { CODE_GRANT } from "../identity/code-grant.ts";
import { DETAILS_TYPE, showDetails } from "../identity/authorization-details.ts";
import { PROOF_ALGORITHMS, verifyProof } from "../identity/proof.ts";
import { ACCESS_TOKEN_TYPE, TOKEN_EXCHANGE_GRANT, oauthError } from "../identity/token-exchange.ts";
import type { Issued } from "../objects/control/identity.ts";
import { time } from "./show.ts";
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
    revocation_endpoint: `${publicUrl}/oauth/revoke`,
    revocation_endpoint_auth_methods_supported: ["none"],
    jwks_uri: `${publicUrl}/.well-known/jwks.json`,
    grant_types_supported: [TOKEN_EXCHANGE_GRANT, CODE_GRANT],
    code_challenge_methods_supported: ["S256"],
    token_endpoint_auth_methods_supported: ["none"],
    response_types_supported: [],
    authorization_details_types_supported: [DETAILS_TYPE],
    dpop_signing_alg_values_supported: PROOF_ALGORITHMS,
  });
});

oauth.get("/v1/login", async (context) =>
  context.json(await controlOf(context.env).loginIssuers(), 200, {
    "cache-control": "no-store",
  }),
);

oauth.post("/oauth/token", async (context) => {
  const headers = { "cache-control": "no-store", pragma: "no-cache" };
  const type = context.req.header("content-type")?.split(";")[0]?.trim().toLowerCase();
  if (type !== "application/x-www-form-urlencoded") {
    const { body, status } = oauthError(
      "invalid_request",
      "the body has to be application/x-www-form-urlencoded",
    );
    return context.json(body, status, headers);
  }
  const form = await readText(context.req.raw);
  if (!form.ok) return problem(context, form.error);
  const { publicUrl } = readSettings(context.env);
  const header = context.req.header("dpop");
  const now = Date.now();
  const proof =
    header === undefined
      ? undefined
      : await verifyProof(header, { method: "POST", url: `${publicUrl}/oauth/token`, now });
  if (proof?.ok === false) {
    const { body, status } = oauthError("invalid_dpop_proof", proof.error.message);
    return context.json(body, status, headers);
  }
  // Set by Cloudflare on every request and not to be forged there; elsewhere nobody says who it is.
  const source = context.req.header("cf-connecting-ip");
  const exchanged = await controlOf(context.env).exchange(form.value, {
    ...(proof === undefined ? {} : { proof: proof.value }),
    ...(source === undefined ? {} : { source }),
  });
  if (!exchanged.ok) return context.json(exchanged.error.body, exchanged.error.status, headers);
  return context.json(tokenAnswer(exchanged.value), 200, headers);
});

/** RFC 7009, for what stands for a SAML login. The answer says nothing of whether there was one. */
oauth.post("/oauth/revoke", async (context) => {
  const form = await readText(context.req.raw);
  if (!form.ok) return problem(context, form.error);
  const token = new URLSearchParams(form.value).get("token") ?? "";
  if (token !== "" && token.length <= LIMITS.http.token) await controlOf(context.env).endLogin(token);
  return context.body(null, 200, { "cache-control": "no-store" });
});

/** RFC 8693 section 2.2.1, with RFC 9396 section 7 for a task's token. */
export function tokenAnswer({ token, expiresAt, proofKey, task, login }: Issued): object {
  return {
    access_token: token,
    issued_token_type: ACCESS_TOKEN_TYPE,
    token_type: proofKey === undefined ? "Bearer" : "DPoP",
    expires_in: Math.max(1, Math.floor((expiresAt - Date.now()) / 1000)),
    ...(task === undefined
      ? {}
      : {
          authorization_details: showDetails(task.terms),
          task: task.id,
          task_deadline: time(task.terms.deadline),
        }),
    ...(login === undefined
      ? {}
      : {
          refresh_token: login.token,
          refresh_expires_in: Math.max(1, Math.floor((login.endsAt - Date.now()) / 1000)),
          name: login.principal.name,
        }),
  };
}

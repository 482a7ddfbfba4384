import { EXIT } from "../../../wire/refusals.ts";
import { type Result, ok } from "../../../wire/result.ts";
import { type LoginIssuer, LoginIssuers, type LoginSaml } from "../answers.ts";
import { callGateway } from "../api.ts";
import { openBrowser } from "../browser.ts";
import type { Command } from "../command.ts";
import { type Failure, fail, usage } from "../failure.ts";
import { resolveGateway } from "../gateway.ts";
import { type Login, writeLogin } from "../store.ts";
import { say, toJson, visibleLine } from "../terminal.ts";

const PATIENCE_MS = 5 * 60_000;

export const login: Command = {
  name: "login",
  summary: "sign in with your browser",
  about: `Opens your organisation's sign-in page and waits up to five minutes. The tokens are kept in
$XDG_CONFIG_HOME/sally (else ~/.config/sally), readable by you only, and the gateway becomes the default
one. On a machine without a browser, forward the port in the address that is shown, or use --token-file.
A workload (CI job, service, agent) does not sign in: it uses --token-file or SALLY_TOKEN_FILE.

  sally login --gateway https://sally.example.com`,
  positionals: [],
  options: {
    issuer: { value: "URL", about: "where to sign in, if the gateway trusts several issuers" },
    saml: { value: "NAME", about: "sign in through this SAML provider of the gateway's" },
    "no-browser": { about: "only show the address" },
  },
  run: async (context, given) => {
    if (context.tokenFile !== undefined)
      return usage("--token-file and login do not go together", "with a token file no sign-in is needed");
    const gateway = await resolveGateway(context);
    if (!gateway.ok) return gateway;
    const answer = await callGateway(gateway.value, {}, LoginIssuers, "GET", "/v1/login");
    if (!answer.ok) return answer;
    const wanted = { issuer: given.values.get("issuer"), saml: given.values.get("saml") };
    const chosen = choose(answer.value, wanted, gateway.value);
    if (!chosen.ok) return chosen;
    const present = (address: string): void => {
      say(context.terminal, "sign in with your browser at this address:");
      context.terminal.err(`\n  ${new URL(address).href}\n\n`);
      if (!given.flags.has("no-browser")) openBrowser(address, context.environment);
    };
    const signedIn = await signInAt(chosen.value, gateway.value, present);
    if (!signedIn.ok) return signedIn;
    const { issuer, name } = signedIn.value;
    const stored = await writeLogin(context.environment, signedIn.value);
    if (!stored.ok) return stored;
    context.terminal.out(
      context.json
        ? `${toJson({ gateway: gateway.value, issuer, name })}\n`
        : `signed in to ${gateway.value} as ${visibleLine(name)}\n`,
    );
    return ok(0);
  },
};

type Choice = { readonly oidc: LoginIssuer } | { readonly saml: LoginSaml };

async function signInAt(
  choice: Choice,
  gateway: string,
  present: (address: string) => void,
): Promise<Result<Login, Failure>> {
  if ("saml" in choice) {
    const { name: provider, entityId } = choice.saml;
    const { signInWithSaml } = await import("../saml.ts");
    const tokens = await signInWithSaml({ gateway, provider, present, patience: PATIENCE_MS });
    if (!tokens.ok) return tokens;
    const { token, expiresAt, name } = tokens.value;
    const kept = { gateway, issuer: entityId, clientId: "sally", tokenEndpoint: `${gateway}/oauth/token` };
    return ok({ ...kept, idToken: token, expiresAt, name });
  }
  // Nothing else needs the libraries that this loads.
  const { signIn } = await import("../oidc.ts");
  const tokens = await signIn({ issuer: choice.oidc, patience: PATIENCE_MS, present });
  if (!tokens.ok) return tokens;
  const { idToken, refreshToken, expiresAt, tokenEndpoint, name } = tokens.value;
  const { issuer, clientId } = choice.oidc;
  return ok({
    gateway,
    issuer,
    clientId,
    tokenEndpoint,
    idToken,
    expiresAt,
    ...(refreshToken === undefined ? {} : { refreshToken }),
    name,
  });
}

function choose(
  { issuers, saml }: LoginIssuers,
  wanted: { readonly issuer: string | undefined; readonly saml: string | undefined },
  gateway: string,
): Result<Choice, Failure> {
  if (wanted.issuer !== undefined && wanted.saml !== undefined)
    return usage("--issuer and --saml do not go together", "choose one of them");
  const names = [...issuers.map(({ issuer }) => issuer), ...saml.map(({ name }) => `--saml ${name}`)];
  if (names.length === 0) {
    return fail(EXIT.unauthenticated, `${gateway} has no issuer to sign in at`, {
      hint: "use --token-file with a token of an issuer that it trusts",
    });
  }
  const choices: Choice[] = [...issuers.map((oidc) => ({ oidc })), ...saml.map((one) => ({ saml: one }))];
  if (wanted.saml !== undefined) {
    const found = saml.find(({ name }) => name === wanted.saml);
    return found === undefined
      ? fail(EXIT.usage, `${gateway} has no SAML provider ${wanted.saml}`, {
          details: names,
          hint: "choose one of these",
        })
      : ok({ saml: found });
  }
  if (wanted.issuer !== undefined) {
    const address = wanted.issuer.replace(/\/$/, "");
    const found = issuers.find(({ issuer }) => issuer.replace(/\/$/, "") === address);
    return found === undefined
      ? fail(EXIT.usage, `${gateway} does not trust the issuer ${wanted.issuer}`, {
          details: names,
          hint: "choose one of these with --issuer",
        })
      : ok({ oidc: found });
  }
  const [only, ...others] = choices;
  if (only !== undefined && others.length === 0) return ok(only);
  return fail(EXIT.usage, `${gateway} trusts several issuers`, {
    details: names,
    hint: "choose one of these with --issuer",
  });
}

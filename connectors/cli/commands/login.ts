import { EXIT } from "../../../wire/refusals.ts";
import { type Result, ok } from "../../../wire/result.ts";
import { type LoginIssuer, LoginIssuers } from "../answers.ts";
import { callGateway } from "../api.ts";
import { openBrowser } from "../browser.ts";
import type { Command } from "../command.ts";
import { type Failure, fail, usage } from "../failure.ts";
import { resolveGateway } from "../gateway.ts";
import { writeLogin } from "../store.ts";
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
    "no-browser": { about: "only show the address" },
  },
  run: async (context, given) => {
    if (context.tokenFile !== undefined)
      return usage("--token-file and login do not go together", "with a token file no sign-in is needed");
    const gateway = await resolveGateway(context);
    if (!gateway.ok) return gateway;
    const answer = await callGateway(gateway.value, {}, LoginIssuers, "GET", "/v1/login");
    if (!answer.ok) return answer;
    const issuer = choose(answer.value.issuers, given.values.get("issuer"), gateway.value);
    if (!issuer.ok) return issuer;
    // Nothing else needs the libraries that this loads.
    const { signIn } = await import("../oidc.ts");
    const tokens = await signIn({
      issuer: issuer.value,
      patience: PATIENCE_MS,
      present: (address) => {
        say(context.terminal, "sign in with your browser at this address:");
        context.terminal.err(`\n  ${new URL(address).href}\n\n`);
        if (!given.flags.has("no-browser")) openBrowser(address, context.environment);
      },
    });
    if (!tokens.ok) return tokens;
    const { idToken, refreshToken, expiresAt, tokenEndpoint, name } = tokens.value;
    const stored = await writeLogin(context.environment, {
      gateway: gateway.value,
      issuer: issuer.value.issuer,
      clientId: issuer.value.clientId,
      tokenEndpoint,
      idToken,
      expiresAt,
      ...(refreshToken === undefined ? {} : { refreshToken }),
      name,
    });
    if (!stored.ok) return stored;
    context.terminal.out(
      context.json
        ? `${toJson({ gateway: gateway.value, issuer: issuer.value.issuer, name })}\n`
        : `signed in to ${gateway.value} as ${visibleLine(name)}\n`,
    );
    return ok(0);
  },
};

function choose(
  issuers: readonly LoginIssuer[],
  wanted: string | undefined,
  gateway: string,
): Result<LoginIssuer, Failure> {
  const names = issuers.map(({ issuer }) => issuer);
  if (issuers.length === 0) {
    return fail(EXIT.unauthenticated, `${gateway} has no issuer to sign in at`, {
      hint: "use --token-file with a token of an issuer that it trusts",
    });
  }
  if (wanted !== undefined) {
    const found = issuers.find(({ issuer }) => issuer.replace(/\/$/, "") === wanted.replace(/\/$/, ""));
    return found === undefined
      ? fail(EXIT.usage, `${gateway} does not trust the issuer ${wanted}`, {
          details: names,
          hint: "choose one of these with --issuer",
        })
      : ok(found);
  }
  const [only, ...others] = issuers;
  if (only !== undefined && others.length === 0) return ok(only);
  return fail(EXIT.usage, `${gateway} trusts several issuers`, {
    details: names,
    hint: "choose one of these with --issuer",
  });
}

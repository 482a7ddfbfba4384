/**
 * The identity provider of the demo and the tests: `oidc-provider` with a login page on which one picks a user.
 * It asks for no password, so it listens on the loopback interface only.
 *
 * Started by `oidc.ts`, which sends the options as the first IPC message.
 */
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import { Provider, interactionPolicy } from "oidc-provider";
import type { ChangedGroups, OidcProcessOptions } from "./oidc.ts";
import {
  OIDC_CLIENT_ID,
  OIDC_CONSOLE_CLIENT_ID,
  OIDC_USERS,
  type OidcUserName,
  claimsOf,
} from "./oidc-users.ts";
import { stopWithParent } from "./processes.ts";

const LOGIN_PATH = /^\/login\/([A-Za-z0-9_-]{1,64})$/;

function createProvider(options: OidcProcessOptions): Provider {
  return new Provider(options.issuer, {
    clients: [
      {
        client_id: OIDC_CLIENT_ID,
        application_type: "native",
        token_endpoint_auth_method: "none",
        grant_types: ["authorization_code", "refresh_token"],
        response_types: ["code"],
        // A native client's loopback redirect may use any port (RFC 8252 §7.3).
        redirect_uris: ["http://127.0.0.1/callback", "http://localhost/callback", "http://[::1]/callback"],
      },
      {
        client_id: OIDC_CONSOLE_CLIENT_ID,
        // Also any port of this machine: where the gateway listens is known only later.
        application_type: "native",
        ...(options.consoleSecret === undefined
          ? { token_endpoint_auth_method: "none" as const }
          : {
              token_endpoint_auth_method: "client_secret_basic" as const,
              client_secret: options.consoleSecret,
            }),
        grant_types: ["authorization_code", "refresh_token"],
        response_types: ["code"],
        redirect_uris: ["http://127.0.0.1/console/callback", "http://localhost/console/callback"],
      },
    ],
    jwks: { keys: [options.key] },
    cookies: { keys: [options.cookieKey] },
    scopes: ["openid", "profile", "email", "groups"],
    claims: {
      openid: ["sub", "groups"],
      profile: ["name"],
      email: ["email", "email_verified"],
      groups: ["groups"],
    },
    // Group and e-mail claims belong into the ID token itself: nobody calls the userinfo endpoint.
    conformIdTokenClaims: false,
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_context, { uid }) => `/login/${uid}`, policy: loginPolicy() },
    ttl: {
      Interaction: 600,
      Session: 3600,
      Grant: 3600,
      IdToken: 3600,
      AccessToken: 600,
      AuthorizationCode: 60,
    },
    // `sally` stays logged in for the demo's day without asking for offline access.
    issueRefreshToken: async (_context, client) => client.grantTypeAllowed("refresh_token"),
    // First-party client: a consent page would only be in the way.
    loadExistingGrant: async ({ oidc }) => {
      const grant = new oidc.provider.Grant({
        accountId: oidc.session.accountId,
        clientId: oidc.client.clientId,
      });
      grant.addOIDCScope(oidc.params.scope);
      await grant.save();
      return grant;
    },
    findAccount: (_context, id) =>
      isUser(id) ? { accountId: id, claims: () => ({ sub: id, ...currentClaims(id) }) } : undefined,
    renderError: (context, out) => {
      context.type = "html";
      context.body = page(
        `<h1>That did not work</h1><p>${escapeHtml(out["error_description"] ?? out["error"] ?? "")}</p>`,
      );
    },
  });
}

/** Ask who it is each time, so that one browser can be several people, and never for consent. */
function loginPolicy(): interactionPolicy.Policy {
  const policy = interactionPolicy.base();
  policy
    .get("login")
    .checks.add(
      new interactionPolicy.Check("choose_user", "the user picks who to be", (context) =>
        context.oidc.result?.login === undefined
          ? interactionPolicy.Check.REQUEST_PROMPT
          : interactionPolicy.Check.NO_NEED_TO_PROMPT,
      ),
    );
  policy.remove("consent");
  return policy;
}

/** Groups that were changed while the provider runs, by user. */
const changedGroups = new Map<OidcUserName, readonly string[]>();

function currentClaims(user: OidcUserName): Record<string, unknown> {
  return claimsOf({ ...OIDC_USERS[user], groups: changedGroups.get(user) ?? OIDC_USERS[user].groups });
}

function isUser(name: string): name is OidcUserName {
  return Object.hasOwn(OIDC_USERS, name);
}

/** Serves the login page and takes its answer; says whether the request was for it. */
async function login(
  provider: Provider,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<boolean> {
  const path = new URL(request.url ?? "/", "http://localhost").pathname;
  if (!LOGIN_PATH.test(path)) return false;
  // Checks the interaction's cookie and fails for an unknown or finished one.
  await provider.interactionDetails(request, response);
  if (request.method === "POST") {
    const user = new URLSearchParams(await readBody(request)).get("user") ?? "";
    const result = isUser(user) ? { login: { accountId: user } } : { error: "access_denied" };
    await provider.interactionFinished(request, response, result);
    return true;
  }
  const buttons = Object.entries(OIDC_USERS).map(
    ([name, user]) =>
      `<button name="user" value="${name}"><b>${name}</b><span>${escapeHtml(user.name)}, ${user.groups.join(", ")}</span></button>`,
  );
  response.writeHead(200, { "content-type": "text/html; charset=utf-8", "cache-control": "no-store" });
  response.end(page(`<h1>Log in to Sallyport's demo as</h1><form method="post">${buttons.join("")}</form>`));
  return true;
}

async function readBody(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of request) {
    text += String(chunk);
    if (text.length > 10_000) throw new Error("the form is too long");
  }
  return text;
}

function page(body: string): string {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>Sallyport demo login</title>
<meta name="viewport" content="width=device-width">
<style>body{font:16px/1.5 system-ui;max-width:26rem;margin:12vh auto;padding:0 1rem;color:#1c2330;background:#f6f7f9}
h1{font-size:1.2rem}button{display:block;width:100%;margin:.5rem 0;padding:.7rem 1rem;text-align:left;font:inherit;
border:1px solid #ccd2dc;border-radius:.5rem;background:#fff;cursor:pointer}button:hover,button:focus{border-color:#2b5fd9}
span{display:block;color:#5b6577;font-size:.9rem}</style>${body}</html>`;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

function serve(
  options: OidcProcessOptions,
  ready: (answer: { ready: true } | { ready: false; error: string }) => void,
): void {
  const provider = createProvider(options);
  const callback = provider.callback();
  const server = createServer((request, response) => {
    // For tests that count what the gateway asks; a query may hold codes.
    console.log(`${request.method ?? ""} ${(request.url ?? "").split("?")[0] ?? ""}`);
    login(provider, request, response).then(
      (handled) => {
        if (!handled) callback(request, response);
      },
      (error: unknown) => {
        if (!response.headersSent) response.writeHead(400, { "content-type": "text/html; charset=utf-8" });
        response.end(
          page(`<h1>This login has expired</h1><p>Start again with <code>sally login</code>.</p>`),
        );
        console.error(error instanceof Error ? error.message : String(error));
      },
    );
  });
  server.once("error", (error) => ready({ ready: false, error: error.message }));
  server.listen(options.port, "127.0.0.1", () => ready({ ready: true }));
  const stop = (): void => process.exit(0);
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  process.on("disconnect", stop);
  stopWithParent(stop);
}

if (process.send !== undefined) {
  const send = process.send.bind(process);
  process.once("message", (options: OidcProcessOptions) => {
    serve(options, (answer) => send(answer));
    process.on("message", ({ user, groups }: ChangedGroups) => {
      changedGroups.set(user, groups);
      send({ changed: user });
    });
  });
}

import { ok } from "../../../wire/result.ts";
import type { Command } from "../command.ts";
import { resolveGateway } from "../gateway.ts";
import { request } from "../http.ts";
import { readLogin, removeLogin } from "../store.ts";
import { say, toJson } from "../terminal.ts";

export const logout: Command = {
  name: "logout",
  summary: "forget the tokens of a gateway",
  about: `Removes them from this machine. Sessions that are open live on until their token ends, at most 15 minutes.`,
  positionals: [],
  options: {},
  run: async (context) => {
    const gateway = await resolveGateway(context);
    if (!gateway.ok) return gateway;
    const login = await readLogin(context.environment, gateway.value);
    const token = login.ok ? login.value?.idToken : undefined;
    // What a SAML login left is a token of the gateway's own, which can take it back.
    if (token?.startsWith("sll_") === true) {
      const ended = await request(`the gateway ${gateway.value}`, `${gateway.value}/oauth/revoke`, {
        method: "POST",
        body: new URLSearchParams({ token }),
      });
      if (!ended.ok || ended.value.status !== 200)
        say(context.terminal, "the gateway could not be told; the sign-in ends there by itself");
    }
    const removed = await removeLogin(context.environment, gateway.value);
    if (context.json) context.terminal.out(`${toJson({ gateway: gateway.value, signedOut: removed })}\n`);
    else
      say(
        context.terminal,
        removed ? `signed out of ${gateway.value}` : `was not signed in to ${gateway.value}`,
      );
    return ok(0);
  },
};

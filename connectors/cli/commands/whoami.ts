import { ok } from "../../../wire/result.ts";
import { WhoAmI } from "../answers.ts";
import { openApi } from "../api.ts";
import type { Command } from "../command.ts";
import { fields, toJson } from "../terminal.ts";

export const whoami: Command = {
  name: "whoami",
  summary: "say who you are to the gateway",
  positionals: [],
  options: {},
  run: async (context) => {
    const api = await openApi(context);
    if (!api.ok) return api;
    const answer = await api.value.call(WhoAmI, "GET", "/v1/whoami");
    if (!answer.ok) return answer;
    const { principal } = answer.value;
    context.terminal.out(
      context.json
        ? `${toJson(answer.value)}\n`
        : fields([
            ["name", principal.name],
            ["type", principal.type.toLowerCase()],
            ["groups", principal.groups.length === 0 ? "none" : principal.groups.join(", ")],
            ["issuer", principal.issuer],
            ["subject", principal.subject],
            ["gateway", api.value.gateway],
          ]),
    );
    return ok(0);
  },
};

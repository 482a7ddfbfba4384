import { ok } from "../../../wire/result.ts";
import { Resources } from "../answers.ts";
import { openApi } from "../api.ts";
import type { Command } from "../command.ts";
import { say, table, toJson } from "../terminal.ts";

export const ls: Command = {
  name: "ls",
  summary: "list the resources you can reach",
  positionals: [],
  options: {},
  run: async (context) => {
    const api = await openApi(context);
    if (!api.ok) return api;
    const answer = await api.value.call(Resources, "GET", "/v1/resources");
    if (!answer.ok) return answer;
    const { resources } = answer.value;
    if (context.json) {
      context.terminal.out(`${toJson(answer.value)}\n`);
    } else if (resources.length === 0) {
      say(context.terminal, "there is no resource that you can reach");
    } else {
      context.terminal.out(
        table(
          ["NAME", "PROTOCOL", "STATUS", "CONNECTOR", "DATABASE", "LABELS"],
          resources.map((resource) => [
            resource.name,
            resource.protocol,
            resource.online ? "online" : "offline",
            resource.connector,
            resource.database ?? "-",
            Object.entries(resource.labels)
              .map(([name, value]) => `${name}=${value}`)
              .join(","),
          ]),
        ),
      );
    }
    return ok(0);
  },
};

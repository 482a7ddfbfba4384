import { Resources } from "../answers.ts";
import type { Command } from "../command.ts";
import { list } from "../listing.ts";

export const ls: Command = {
  name: "ls",
  summary: "list the resources you can reach",
  positionals: [],
  options: {},
  run: (context) =>
    list(context, {
      schema: Resources,
      path: "/v1/resources",
      columns: ["NAME", "PROTOCOL", "STATUS", "CONNECTOR", "DATABASE", "LABELS"],
      rows: ({ resources }) =>
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
      empty: "there is no resource that you can reach",
    }),
};

import { z } from "zod";
import { ok } from "../../../wire/result.ts";
import { Connectors, JoinToken } from "../answers.ts";
import { openApi } from "../api.ts";
import type { Command } from "../command.ts";
import { list } from "../listing.ts";
import { say, toJson, visibleLine } from "../terminal.ts";

const NAME = { name: "NAME", about: "the connector's name" };

export const connectorEnroll: Command = {
  name: "connector enroll",
  summary: "print a join token and a configuration for a new connector",
  about: `The token is good for one enrolment; it goes to stdout with a configuration to start from. Put it where
only the connector can read it. After it has joined, the connector holds a key of its own.

  sally connector enroll office-1 --json`,
  positionals: [NAME],
  options: {},
  run: async (context, given) => {
    const name = given.positionals[0] ?? "";
    const api = await openApi(context);
    if (!api.ok) return api;
    const answer = await api.value.call(
      JoinToken,
      "POST",
      `/v1/connectors/${encodeURIComponent(name)}/join-tokens`,
      {},
    );
    if (!answer.ok) return answer;
    if (context.json) {
      context.terminal.out(`${toJson({ ...answer.value, name, gateway: api.value.gateway })}\n`);
    } else {
      context.terminal.out(instructions(api.value.gateway, name, answer.value.token));
      say(context.terminal, `the token can be used once, until ${answer.value.expiresAt}`);
    }
    return ok(0);
  },
};

const byName = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

export const connectorLs: Command = {
  name: "connector ls",
  summary: "list connectors and their running processes",
  positionals: [],
  options: {},
  run: (context) =>
    list(context, {
      schema: Connectors,
      path: "/v1/connectors",
      columns: ["NAME", "STATUS", "PROCESSES", "RESOURCES", "ENROLLED"],
      rows: ({ connectors }) =>
        connectors.map((connector) => [
          connector.name,
          connector.revoked ? "revoked" : connector.processes.length > 0 ? "online" : "offline",
          String(connector.processes.length),
          [...new Set(connector.processes.flatMap((process) => process.resources))].sort(byName).join(", ") ||
            "-",
          connector.enrolledAt ?? "-",
        ]),
      empty: "no connector has enrolled yet",
      after: ({ connectors }) => {
        for (const { name, processes } of connectors) {
          if (processes.length < 2) continue;
          say(
            context.terminal,
            `${processes.length} processes use the key of ${name}; if you run only one, revoke it`,
          );
          for (const { process, since, source = "an address that is not known" } of processes) {
            context.terminal.err(
              visibleLine(`  ${process.slice(0, 8)} from ${source}, since ${since}`) + "\n",
            );
          }
        }
      },
    }),
};

export const connectorRevoke: Command = {
  name: "connector revoke",
  summary: "trust a connector no more and cut its sockets",
  positionals: [NAME],
  options: {},
  run: async (context, given) => {
    const name = given.positionals[0] ?? "";
    const api = await openApi(context);
    if (!api.ok) return api;
    const answer = await api.value.call(z.unknown(), "DELETE", `/v1/connectors/${encodeURIComponent(name)}`);
    if (!answer.ok) return answer;
    if (context.json) context.terminal.out(`${toJson({ name, revoked: true })}\n`);
    else say(context.terminal, `connector ${name} is revoked`);
    return ok(0);
  },
};

/** A configuration as connectors/agent/config.ts reads it, with one resource to replace. */
function instructions(gateway: string, name: string, token: string): string {
  return `# connector.yaml
gateway: ${visibleLine(gateway)}
name: ${visibleLine(name)}
stateDirectory: /var/lib/sally-connector
joinToken: env:SALLY_JOIN_TOKEN
resources:
  my-db:
    protocol: postgres
    address: db.internal:5432
    database: my_db
    user: sally
    password: file:/etc/sally-connector/my-db.password
    tls: verify-full

# start it from a clone of Sallyport, where it can reach the database
SALLY_JOIN_TOKEN=${visibleLine(token)} npx node connectors/agent/main.ts --config connector.yaml
`;
}

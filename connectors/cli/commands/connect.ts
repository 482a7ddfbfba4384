import { ok } from "../../../wire/result.ts";
import type { Command } from "../command.ts";
import { parsePort } from "../local-port.ts";
import { databaseUrl } from "../native-client.ts";
import { openAccess, openDoor, warnUnguarded } from "../postgres-access.ts";
import { say, toJson, visibleLine } from "../terminal.ts";

export const connect: Command = {
  name: "connect",
  summary: "listen on a local port for any client",
  about: `Listens on 127.0.0.1 until Ctrl-C. Every connection to the port becomes a session of yours, so on Linux
connections of other users of this machine are turned away; elsewhere prefer sally run. No password and
no TLS are needed on the port itself: the way to the gateway is encrypted and authenticated.

  sally connect shop-db --port 5433`,
  positionals: [{ name: "RESOURCE", about: "the database, as sally ls names it" }],
  options: { port: { value: "PORT", about: "the port to listen on (default: a free one)" } },
  run: async (context, given) => {
    const resource = given.positionals[0] ?? "";
    const wanted = parsePort(given.values.get("port"));
    if (!wanted.ok) return wanted;
    const access = await openAccess(context, resource);
    if (!access.ok) return access;
    const door = await openDoor(context, access.value, wanted.value);
    if (!door.ok) return door;
    warnUnguarded(context, door.value);
    const { host, port } = door.value;
    const url = databaseUrl({ host, port, database: resource, user: access.value.user });
    if (context.json) {
      context.terminal.out(`${toJson({ host, port, database: resource, user: access.value.user, url })}\n`);
    } else {
      context.terminal.out(`listening on ${host}:${port} for ${visibleLine(resource)}\n  psql '${url}'\n`);
      say(context.terminal, "press ctrl-c to stop");
    }
    await new Promise<void>((resolve) => {
      for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => resolve());
    });
    await door.value.close(0);
    return ok(0);
  },
};

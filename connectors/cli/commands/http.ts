import { ok } from "../../../wire/result.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import type { Failure } from "../failure.ts";
import type { Result } from "../../../wire/result.ts";
import { openHttpDoor, urlVariable } from "../http-door.ts";
import { parsePort } from "../local-port.ts";
import { runNative } from "../native-client.ts";
import { warnUnguarded } from "../postgres-access.ts";
import { say, toJson, visibleLine } from "../terminal.ts";

export const http: Command = {
  name: "http",
  summary: "a local port for an HTTP service, with your token added",
  about: `Listens on 127.0.0.1 until Ctrl-C, or until the command after -- has ended. Every request to the port goes
to the service as yours, so on Linux connections of other users of this machine are turned away, and requests
that web pages make are turned away everywhere. The command finds the port in a variable named after the
resource: ORDERS_API_URL for orders-api.

  sally http orders-api --port 8080
  sally http orders-api -- sh -c 'curl -s $ORDERS_API_URL/orders'`,
  positionals: [{ name: "RESOURCE", about: "the service, as sally ls names it" }],
  options: { port: { value: "PORT", about: "the port to listen on (default: a free one)" } },
  native: "COMMAND",
  run: async (context, given) => {
    const resource = given.positionals[0] ?? "";
    const wanted = parsePort(given.values.get("port"));
    if (!wanted.ok) return wanted;
    const [program, ...words] = given.native ?? [];
    if (program !== undefined) return runWithHttp(context, resource, wanted.value, program, words);
    const door = await openHttpDoor(context, resource, wanted.value);
    if (!door.ok) return door;
    warnUnguarded(context, door.value);
    const { host, port, url } = door.value;
    if (context.json) context.terminal.out(`${toJson({ host, port, url })}\n`);
    else {
      context.terminal.out(`listening on ${host}:${port} for ${visibleLine(resource)}\n  curl ${url}/\n`);
      say(context.terminal, "press ctrl-c to stop");
    }
    await new Promise<void>((resolve) => {
      for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => resolve());
    });
    await door.value.close(0);
    return ok(0);
  },
};

/** Runs a command that finds the service in `<RESOURCE>_URL`. */
async function runWithHttp(
  context: Context,
  resource: string,
  port: number,
  program: string,
  words: readonly string[],
): Promise<Result<number, Failure>> {
  const door = await openHttpDoor(context, resource, port);
  if (!door.ok) return door;
  warnUnguarded(context, door.value);
  const { SALLY_TOKEN: _token, ...environment } = context.environment;
  const ended = await runNative({
    program,
    words,
    environment: { ...environment, [urlVariable(resource)]: door.value.url },
    installHint: "check the spelling, or give its path",
  });
  await door.value.close(0);
  return ended.ok ? ok(door.value.outcome.exitCode(ended.value)) : ended;
}

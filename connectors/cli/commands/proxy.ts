import { writeFileSync } from "node:fs";
import { EXIT } from "../../../wire/refusals.ts";
import { ok } from "../../../wire/result.ts";
import type { Command } from "../command.ts";
import type { Failure } from "../failure.ts";
import { openAccess } from "../postgres-access.ts";
import { carry } from "../shim.ts";
import { OUTCOME_FILE } from "../ssh-client.ts";

export const proxy: Command = {
  name: "proxy",
  summary: "carry one connection over stdin and stdout",
  about: `For clients that start a program to reach a server, as ssh does with ProxyCommand. Bytes on stdin go to
the resource, its bytes come on stdout; messages are on stderr.

  sally proxy shop-db`,
  positionals: [{ name: "RESOURCE", about: "the resource, as sally ls names it" }],
  options: {},
  run: async (context, given) => {
    const access = await openAccess(context, given.positionals[0] ?? "");
    if (!access.ok) return access;
    const { options, outcome } = access.value;
    let failure: Failure | undefined;
    // `sally ssh` learns here what its exit code has to say. Written at once: ssh ends us when it is done.
    const file = context.environment[OUTCOME_FILE];
    const tell = (): void => {
      if (file !== undefined) writeFileSync(file, String(outcome.exitCode(EXIT.failed)));
    };
    await carry(
      { readable: process.stdin, writable: process.stdout },
      {
        ...options,
        outcome: {
          ...outcome,
          notice: (notice) => {
            outcome.notice(notice);
            tell();
          },
          failed: (why) => {
            failure = why;
            outcome.failed(why);
            tell();
          },
        },
        // The protocol is not known here: the message on stderr and the exit code have to do.
        refuse: () => Promise.resolve(),
        refuseUnanswered: () => undefined,
      },
    );
    // A stdin that stays open must not keep the process.
    process.stdin.destroy();
    return failure === undefined ? ok(0) : ok(failure.exit);
  },
};

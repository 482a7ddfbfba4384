import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ok } from "../../../wire/result.ts";
import type { Command } from "../command.ts";
import { runNative } from "../native-client.ts";
import { OUTCOME_FILE, sshSettings } from "../ssh-client.ts";

export const ssh: Command = {
  name: "ssh",
  summary: "open a shell on a server, or run a command there",
  about: `What follows -- goes to ssh, after the host: options and the command. Its exit code passes through,
except that after an operation was denied or held a failing ssh gives 3 or 4. For scp, sftp, rsync, git and
editors see sally ssh-config.

  sally ssh web-1
  sally ssh web-1 -- uptime
  sally ssh web-1 -- -L 8080:127.0.0.1:80 -N
  sally ssh deploy@web-1 --no-wait -- systemctl restart shop`,
  positionals: [{ name: "[LOGIN@]RESOURCE", about: "the server, as sally ls names it" }],
  options: {},
  native: "SSH-ARGUMENTS",
  run: async (context, given) => {
    const target = given.positionals[0] ?? "";
    const at = target.lastIndexOf("@");
    const login = at < 0 ? [] : ["-l", target.slice(0, at)];
    const settings = await sshSettings(context);
    if (!settings.ok) return settings;
    const directory = await mkdtemp(join(tmpdir(), "sally-ssh-"));
    const outcome = join(directory, "outcome");
    try {
      const ended = await runNative({
        program: "ssh",
        words: [
          ...settings.value.flatMap(([name, value]) => ["-o", `${name}=${value}`]),
          // A master of the user's own would not tell this run how it ended.
          ...["-o", "ControlPath=none"],
          ...login,
          target.slice(at + 1),
          ...(given.native ?? []),
        ],
        environment: { ...context.environment, [OUTCOME_FILE]: outcome },
        installHint:
          "install it with: apt install openssh-client (Debian, Ubuntu), dnf install openssh-clients (Fedora)",
      });
      if (!ended.ok) return ended;
      return ok(ended.value === 0 ? 0 : ((await exitOf(outcome)) ?? ended.value));
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  },
};

/** What `sally proxy` left: a code of ours, or 1 where nothing was denied, held or unreachable. */
async function exitOf(file: string): Promise<number | undefined> {
  const text = await readFile(file, "utf8").catch(() => "");
  const code = Number(text);
  return Number.isInteger(code) && code > 1 ? code : undefined;
}

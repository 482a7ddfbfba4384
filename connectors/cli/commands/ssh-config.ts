import { ok } from "../../../wire/result.ts";
import { Resources } from "../answers.ts";
import { openApi } from "../api.ts";
import type { Command } from "../command.ts";
import { learnHostKey, settingsFor } from "../ssh-client.ts";
import { say, toJson } from "../terminal.ts";

export const sshConfig: Command = {
  name: "ssh-config",
  summary: "print what ssh, scp, sftp, rsync, git and editors need",
  about: `Prints a piece of ssh_config for every server that you can reach, and keeps the gateway's host key where
it says. Put it in a file of its own and include that:

  sally ssh-config > ~/.ssh/sallyport
  echo 'Include sallyport' | cat - ~/.ssh/config > ~/.ssh/config.new && mv ~/.ssh/config.new ~/.ssh/config
  ssh web-1`,
  positionals: [],
  options: {},
  run: async (context) => {
    const api = await openApi(context);
    if (!api.ok) return api;
    const answer = await api.value.call(Resources, "GET", "/v1/resources");
    if (!answer.ok) return answer;
    const learnt = await learnHostKey(context, api.value);
    if (!learnt.ok) return learnt;
    const hosts = answer.value.resources.filter(({ protocol }) => protocol === "ssh").map(({ name }) => name);
    const settings = settingsFor(context, api.value.gateway);
    if (context.json) {
      context.terminal.out(`${toJson({ hosts, settings: Object.fromEntries(settings) })}\n`);
    } else if (hosts.length === 0) {
      say(context.terminal, "there is no server that you can reach");
    } else {
      const lines = settings.map(([name, value]) => `  ${name} ${value}`);
      const keepAlive = "  ServerAliveInterval 30";
      context.terminal.out(
        `# ${api.value.gateway}\nHost ${hosts.join(" ")}\n${lines.join("\n")}\n${keepAlive}\n`,
      );
    }
    return ok(0);
  },
};

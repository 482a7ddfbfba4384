import { readFile } from "node:fs/promises";
import { EXIT } from "../../../wire/refusals.ts";
import { ok } from "../../../wire/result.ts";
import { Applied } from "../answers.ts";
import { openApi } from "../api.ts";
import type { Command } from "../command.ts";
import { readConfigFiles } from "../config-files.ts";
import { fail, reasonOf } from "../failure.ts";
import { toJson, visibleLine } from "../terminal.ts";

export const apply: Command = {
  name: "apply",
  summary: "make a directory of files the gateway's configuration",
  about: `Sends every .yaml, .yml and .cedar file under DIR; together they become the configuration, and what is
not among them is gone. Nothing changes when anything is wrong: each mistake is shown with its file, line
and column. The first configuration of a new gateway is applied with its bootstrap token.

  sally apply -f config --dry-run
  sally apply -f config`,
  positionals: [],
  options: {
    file: { short: "f", value: "DIR", required: true, about: "the directory, or a single file" },
    "dry-run": { about: "check and show what would change, without changing it" },
    "bootstrap-token-file": {
      value: "FILE",
      about: "file with SALLY_BOOTSTRAP_TOKEN of the gateway, for its first configuration",
    },
  },
  run: async (context, given) => {
    const files = await readConfigFiles(given.values.get("file") ?? "");
    if (!files.ok) return files;
    const bootstrapFile = given.values.get("bootstrap-token-file");
    let bootstrap: string | undefined;
    if (bootstrapFile !== undefined) {
      try {
        bootstrap = (await readFile(bootstrapFile, "utf8")).trim();
      } catch (error) {
        return fail(EXIT.unauthenticated, `cannot read ${bootstrapFile}: ${reasonOf(error)}`);
      }
    }
    const api = await openApi(context, bootstrap);
    if (!api.ok) return api;
    const path = given.flags.has("dry-run") ? "/v1/config?dry-run=1" : "/v1/config";
    const answer = await api.value.call(Applied, "PUT", path, { files: files.value });
    if (!answer.ok) return answer;
    const { changes, dryRun, version } = answer.value;
    if (context.json) {
      context.terminal.out(`${toJson(answer.value)}\n`);
    } else {
      const lines = changes.length === 0 ? ["no changes"] : changes;
      const last = dryRun
        ? `dry run: nothing was changed, version stays ${version}`
        : `version ${version} is in force`;
      context.terminal.out([...lines, last].map((line) => `${visibleLine(line)}\n`).join(""));
    }
    return ok(0);
  },
};

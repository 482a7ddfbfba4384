import { describe, expect, it } from "vitest";
import { COMMANDS } from "../../../connectors/cli/registry.ts";
import { GLOBAL_OPTIONS, closest, parseWords } from "../../../connectors/cli/arguments.ts";
import { run } from "./support.ts";

describe("help", () => {
  it("lists every command", async () => {
    const { code, out, err } = await run(["--help"]);
    expect({ code, err }).toEqual({ code: 0, err: "" });
    for (const { name, summary } of COMMANDS) {
      expect(out).toContain(`  ${name} `);
      expect(out).toContain(summary);
    }
  });

  it.each(COMMANDS.map((command) => [command.name, command] as const))(
    "of %s names its usage, arguments and options",
    async (name, command) => {
      const { code, out, err } = await run([...name.split(" "), "--help"]);
      expect({ code, err }).toEqual({ code: 0, err: "" });
      expect(out).toContain(`Usage: sally ${name}`);
      for (const { name: argument, about } of command.positionals) {
        expect(out).toContain(argument);
        expect(out.replace(/\s+/g, " ")).toContain(about);
      }
      for (const [option, { about }] of Object.entries({ ...command.options, ...GLOBAL_OPTIONS })) {
        expect(out).toContain(`--${option}`);
        expect(out.replace(/\s+/g, " ")).toContain(about);
      }
      expect(Math.max(...out.split("\n").map((line) => line.length))).toBeLessThanOrEqual(110);
    },
  );

  it("is the same by help, -h and --help, and does nothing else", async () => {
    const byHelp = await run(["help", "policy", "explain"]);
    expect(byHelp).toEqual(await run(["policy", "explain", "-h"]));
    expect(byHelp).toEqual(await run(["policy", "--help", "explain"]));
    expect(byHelp.out).toContain("Usage: sally policy explain RESOURCE SQL");
    expect(await run(["help"])).toEqual(await run(["--help"]));
  });

  it("of a group lists its commands, and the group alone is a usage error", async () => {
    expect(await run(["approvals", "--help"])).toMatchObject({ code: 0, err: "" });
    const alone = await run(["approvals"]);
    expect(alone).toMatchObject({ code: 2, out: "" });
    expect(alone.err).toContain("approvals approve");
  });

  it("without a command goes to stderr and gives 2", async () => {
    const { code, out, err } = await run([]);
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toContain("Usage: sally COMMAND");
  });

  it("says the version", async () => {
    expect(await run(["--version"])).toEqual({ code: 0, out: "0.0.0-test\n", err: "" });
  });
});

describe("a command line that cannot be meant gives 2", () => {
  it.each([
    [["pqsl", "shop-db"], "sally: unknown command pqsl\n  hint: did you mean sally psql?\n"],
    [["approval", "ls"], "sally: unknown command approval\n  hint: did you mean sally approvals?\n"],
    [
      ["approvals", "aprove", "apr_1"],
      "sally: unknown command approvals aprove\n  hint: did you mean sally approvals approve?\n",
    ],
    [["frobnicate"], "sally: unknown command frobnicate\n  hint: see the commands with: sally --help\n"],
    [["ls", "--jsn"], "sally: unknown option --jsn\n  hint: did you mean --json?\n"],
    [["ls", "--frobnicate"], "sally: unknown option --frobnicate\n  hint: see --help for the options\n"],
    [
      ["psql", "shop-db", "-c", "select 1"],
      "sally: unknown option -c\n  hint: options of the native client go after --\n",
    ],
    [["psql"], "sally: RESOURCE is missing\n  hint: usage: sally psql RESOURCE [-- PSQL-ARGUMENTS]\n"],
    [["ls", "extra"], "sally: unexpected argument extra\n  hint: usage: sally ls\n"],
    [["ls", "--", "extra"], "sally: unexpected argument extra\n  hint: usage: sally ls\n"],
    [
      ["run", "shop-db", "./migrate"],
      "sally: unexpected argument ./migrate\n  hint: what the native client gets goes after --: sally run RESOURCE [OPTIONS] -- COMMAND\n",
    ],
    [
      ["run", "shop-db"],
      "sally: no command to run\n  hint: name it after --: sally run shop-db -- ./migrate\n",
    ],
    [["ls", "--gateway"], "sally: option --gateway needs a value: --gateway URL\n"],
    [["ls", "--gateway", "--no-wait"], "sally: option --gateway needs a value: --gateway URL\n"],
    [["ls", "--json=yes"], "sally: option --json takes no value\n"],
    [
      ["connect", "shop-db", "--port", "70000"],
      "sally: 70000 is not a port\n  hint: a port is a number up to 65535\n",
    ],
    [["apply"], "sally: -f DIR is missing\n  hint: usage: sally apply -f DIR [OPTIONS]\n"],
    [["apply", "-f", "/nonexistent"], "sally: cannot read /nonexistent: no such file or directory\n"],
    [
      ["ls", "--gateway", "nonsense"],
      "sally: the gateway's address nonsense is not a URL\n  hint: it looks like https://sally.example.com\n",
    ],
    [
      ["ls", "--gateway", "http://sally.example.com"],
      "sally: the gateway's address http://sally.example.com is not https\n  hint: plain http is for a gateway on this machine only\n",
    ],
    [
      ["ls"],
      "sally: no gateway is known\n  hint: name it once with: sally login --gateway https://… (or set SALLY_GATEWAY)\n",
    ],
    [
      ["login", "--token-file", "x", "--gateway", "https://a.example"],
      "sally: --token-file and login do not go together\n  hint: with a token file no sign-in is needed\n",
    ],
  ])("%j", async (words, err) => {
    expect(await run(words)).toEqual({ code: 2, out: "", err });
  });

  it("and says so in JSON on stdout, too, when that is asked for", async () => {
    const { code, out } = await run(["ls", "--json"]);
    expect(code).toBe(2);
    expect(JSON.parse(out)).toEqual({
      error: {
        message: "no gateway is known",
        hint: "name it once with: sally login --gateway https://… (or set SALLY_GATEWAY)",
        exit: 2,
      },
    });
    // What stands after -- is not ours.
    expect((await run(["psql", "x", "--", "--json"])).out).toBe("");
  });
});

describe("parsing", () => {
  it("takes global options before and after the command", async () => {
    const before = await run(["--gateway", "nonsense", "--json", "ls"]);
    const after = await run(["ls", "--json", "--gateway=nonsense"]);
    expect(before).toEqual(after);
    expect(before.err).toContain("nonsense is not a URL");
    // The value of an option is not taken for a command.
    expect((await run(["--gateway", "psql", "ls"])).err).toContain("address psql is not a URL");
  });

  it("gives the native client everything after the first --, options and further -- included", () => {
    const given = parseWords(["shop-db", "--no-wait", "--", "-c", "--json", "--", "-x"], {}, true);
    expect(given).toMatchObject({
      ok: true,
      value: { positionals: ["shop-db"], native: ["-c", "--json", "--", "-x"] },
    });
    expect(given.ok && [...given.value.flags]).toEqual(["no-wait"]);
  });

  it("tells no -- from an empty one", () => {
    expect(parseWords(["a"], {}, true)).toMatchObject({ value: { native: undefined } });
    expect(parseWords(["a", "--"], {}, true)).toMatchObject({ value: { native: [] } });
  });

  it("takes short options with their value attached or apart, and - as a value", () => {
    const table = { file: { short: "f", value: "DIR", about: "" } };
    for (const words of [["-f", "x"], ["-fx"], ["--file", "x"], ["--file=x"]]) {
      const given = parseWords(words, table, false);
      expect(given.ok && given.value.values.get("file")).toBe("x");
    }
    const dash = parseWords(["-f", "-"], table, false);
    expect(dash.ok && dash.value.values.get("file")).toBe("-");
    const dashed = parseWords(["--file=-x"], table, false);
    expect(dashed.ok && dashed.value.values.get("file")).toBe("-x");
  });

  it("finds slips of one letter, of two swapped ones, and no far-fetched words", () => {
    const words = ["psql", "connect", "sessions", "whoami"];
    expect(closest("pslq", words)).toBe("psql");
    expect(closest("conect", words)).toBe("connect");
    expect(closest("sesions", words)).toBe("sessions");
    expect(closest("mysql", words)).toBeUndefined();
    expect(closest("x", words)).toBeUndefined();
  });
});

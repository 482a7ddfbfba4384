/** From a command line to an exit code. Pure of process state, so that tests can call it. */
import { EXIT } from "../../wire/refusals.ts";
import { type Result, ok } from "../../wire/result.ts";
import { type Arguments, GLOBAL_OPTIONS, type OptionTable, closest, parseWords } from "./arguments.ts";
import type { Command } from "./command.ts";
import type { Context, Environment } from "./context.ts";
import { type Failure, usage } from "./failure.ts";
import { groupHelp, helpOf, nameOption, overview, usageLine } from "./help.ts";
import { COMMANDS } from "./registry.ts";
import { type Terminal, sayFailure, toJson } from "./terminal.ts";

/** Runs one command line and resolves to the exit code; whatever goes wrong has been said. */
export async function sally(
  words: readonly string[],
  environment: Environment,
  terminal: Terminal,
  version: string,
): Promise<number> {
  const result = await dispatch(words, environment, terminal, version);
  if (result.ok) return result.value;
  const failure = result.error;
  // Only what stands before `--` is ours.
  const own = words.includes("--") ? words.slice(0, words.indexOf("--")) : words;
  if (own.includes("--json")) {
    const { message, hint, code, approval, details, exit } = failure;
    terminal.out(`${toJson({ error: { message, hint, code, approval, details, exit } })}\n`);
  }
  sayFailure(terminal, failure);
  return failure.exit;
}

async function dispatch(
  words: readonly string[],
  environment: Environment,
  terminal: Terminal,
  version: string,
): Promise<Result<number, Failure>> {
  const found = findCommand(words);
  if (!found.ok) return found;
  const { command, group, rest } = found.value;
  if (command === undefined) {
    const asked = parseWords(rest, { version: { about: "" } }, false);
    if (!asked.ok) return asked;
    if (asked.value.flags.has("version")) {
      terminal.out(`${version}\n`);
      return ok(0);
    }
    const text = group === undefined ? overview(COMMANDS) : groupHelp(group, inGroup(group));
    if (asked.value.flags.has("help") || (group === undefined && words.length === 1 && words[0] === "help")) {
      terminal.out(text);
      return ok(0);
    }
    terminal.err(text);
    return ok(EXIT.usage);
  }
  const given = parseWords(rest, command.options, command.native !== undefined);
  if (!given.ok) return given;
  if (given.value.flags.has("help")) {
    terminal.out(helpOf(command));
    return ok(0);
  }
  const complete = checkComplete(command, given.value);
  if (!complete.ok) return complete;
  return command.run(contextOf(given.value, environment, terminal), given.value);
}

type Found = {
  readonly command: Command | undefined;
  readonly group: string | undefined;
  /** All words but the command's name. */
  readonly rest: readonly string[];
};

/** The command's name is the first word, or two, that is neither an option nor a global option's value. */
function findCommand(words: readonly string[]): Result<Found, Failure> {
  const places: number[] = [];
  for (let at = 0; at < words.length && places.length < 2; at++) {
    const word = words[at] ?? "";
    if (word === "--") break;
    if (!word.startsWith("-")) places.push(at);
    else if (takesNextWord(word)) at += 1;
  }
  const [first, second] = places;
  const without = (...dropped: (number | undefined)[]): string[] =>
    words.filter((_, at) => !dropped.includes(at));
  if (first === undefined) return ok({ command: undefined, group: undefined, rest: words });
  const word = words[first] ?? "";
  const direct = COMMANDS.find(({ name }) => name === word);
  if (direct !== undefined) return ok({ command: direct, group: undefined, rest: without(first) });
  if (word === "help") return findHelp(words, first, second, without);
  if (inGroup(word).length === 0) {
    const near = closest(word, [...new Set(COMMANDS.map(({ name }) => name.split(" ")[0] ?? ""))]);
    return usage(
      `unknown command ${word}`,
      near === undefined ? "see the commands with: sally --help" : `did you mean sally ${near}?`,
    );
  }
  if (second === undefined) return ok({ command: undefined, group: word, rest: without(first) });
  const verb = words[second] ?? "";
  const command = COMMANDS.find(({ name }) => name === `${word} ${verb}`);
  if (command !== undefined) return ok({ command, group: undefined, rest: without(first, second) });
  const near = closest(
    verb,
    inGroup(word).map(({ name }) => name.split(" ")[1] ?? ""),
  );
  return usage(
    `unknown command ${word} ${verb}`,
    near === undefined
      ? `see the commands with: sally ${word} --help`
      : `did you mean sally ${word} ${near}?`,
  );
}

/** `sally help`, `sally help psql`: the same as `--help`. */
function findHelp(
  words: readonly string[],
  first: number,
  second: number | undefined,
  without: (...dropped: number[]) => string[],
): Result<Found, Failure> {
  if (second === undefined)
    return ok({ command: undefined, group: undefined, rest: [...without(first), "--help"] });
  return findCommand([...words.slice(0, first), ...words.slice(first + 1), "--help"]);
}

function takesNextWord(word: string): boolean {
  const options: OptionTable = GLOBAL_OPTIONS;
  return word.startsWith("--") && !word.includes("=") && options[word.slice(2)]?.value !== undefined;
}

function inGroup(group: string): readonly Command[] {
  return COMMANDS.filter(({ name }) => name.startsWith(`${group} `));
}

/** Whether all arguments and options that the command needs are there, and nothing else. */
function checkComplete(command: Command, given: Arguments): Result<void, Failure> {
  const { positionals } = given;
  const missing = command.positionals.find(
    ({ optional }, at) => optional !== true && positionals[at] === undefined,
  );
  if (missing !== undefined) return usage(`${missing.name} is missing`, `usage: ${usageLine(command)}`);
  const needed = Object.entries(command.options).find(
    ([name, option]) => option.required === true && !given.values.has(name),
  );
  if (needed !== undefined)
    return usage(`${nameOption(...needed)} is missing`, `usage: ${usageLine(command)}`);
  const extra = positionals[command.positionals.length];
  if (extra === undefined) return ok(undefined);
  return usage(
    `unexpected argument ${extra}`,
    command.native === undefined
      ? `usage: ${usageLine(command)}`
      : `what the native client gets goes after --: ${usageLine(command)}`,
  );
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}

function contextOf(given: Arguments, environment: Environment, terminal: Terminal): Context {
  return {
    terminal,
    environment,
    gateway: given.values.get("gateway"),
    tokenFile: given.values.get("token-file"),
    json: given.flags.has("json"),
    noWait: given.flags.has("no-wait"),
    reason: given.values.get("reason"),
    task: given.values.get("task") ?? nonEmpty(environment["SALLY_TASK"]),
    actorTokenFile: given.values.get("actor-token-file") ?? nonEmpty(environment["SALLY_ACTOR_TOKEN_FILE"]),
  };
}

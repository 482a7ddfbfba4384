/** Help texts, made from the same tables that the parser uses. */
import { GLOBAL_OPTIONS, type OptionSpec, type OptionTable } from "./arguments.ts";
import type { Command } from "./command.ts";

export function usageLine(command: Command): string {
  const options = Object.entries(command.options);
  const required = options.filter(([, option]) => option.required === true);
  const words = [
    "sally",
    command.name,
    ...command.positionals.map(({ name, optional }) => (optional === true ? `[${name}]` : name)),
    ...required.map(([name, option]) => nameOption(name, option)),
    ...(options.length > required.length ? ["[OPTIONS]"] : []),
    ...(command.native === undefined
      ? []
      : [command.name === "run" ? `-- ${command.native}` : `[-- ${command.native}]`]),
  ];
  return words.join(" ");
}

/** `-f DIR`: an option in its shortest form, with its value. */
export function nameOption(name: string, option: OptionSpec): string {
  const word = option.short === undefined ? `--${name}` : `-${option.short}`;
  return option.value === undefined ? word : `${word} ${option.value}`;
}

export function helpOf(command: Command): string {
  const sections = [`${capital(command.summary)}.`, `Usage: ${usageLine(command)}`];
  if (command.about !== undefined) sections.push(command.about);
  if (command.positionals.length > 0) {
    sections.push(`Arguments:\n${aligned(command.positionals.map(({ name, about }) => [name, about]))}`);
  }
  if (Object.keys(command.options).length > 0) sections.push(`Options:\n${optionLines(command.options)}`);
  sections.push(`Options of every command:\n${optionLines(GLOBAL_OPTIONS)}`);
  return `${sections.join("\n\n")}\n`;
}

export function overview(commands: readonly Command[]): string {
  return `sally gives you databases through a Sallyport gateway: your own psql, the gateway's policy.

Usage: sally COMMAND [OPTIONS] [-- NATIVE-ARGUMENTS]

Commands:
${aligned(commands.map(({ name, summary }) => [name, summary]))}

Options of every command:
${optionLines({ ...GLOBAL_OPTIONS, version: { about: "print the version" } })}

Begin with: sally login --gateway https://…    then: sally ls
Exit codes: 0 done, 1 failed, 2 usage, 3 denied, 4 held, 5 not authenticated, 6 unreachable.
sally COMMAND --help tells more about a command.
`;
}

/** The commands of one group: `sally approvals --help`. */
export function groupHelp(group: string, commands: readonly Command[]): string {
  return `Usage: sally ${group} COMMAND [OPTIONS]

Commands:
${aligned(commands.map((command) => [command.name, command.summary]))}

sally ${group} COMMAND --help tells more about a command.
`;
}

function optionLines(options: OptionTable): string {
  return aligned(
    Object.entries(options).map(([name, option]) => [
      `${option.short === undefined ? "    " : `-${option.short}, `}--${name}${option.value === undefined ? "" : ` ${option.value}`}`,
      option.about,
    ]),
  );
}

/** Two columns; the second is wrapped to 100 columns in all. */
function aligned(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([left]) => left.length)) + 4;
  return rows
    .map(([left, right]) => {
      const lines: string[] = [];
      for (const word of right.split(" ")) {
        const last = lines.at(-1);
        if (last !== undefined && last.length + 1 + word.length <= 100 - width)
          lines[lines.length - 1] = `${last} ${word}`;
        else lines.push(word);
      }
      return `  ${left}`.padEnd(width) + lines.join(`\n${" ".repeat(width)}`);
    })
    .join("\n");
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

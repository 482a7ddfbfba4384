/** What a command of `sally` is: a row of the registry, with one file in `commands/`. */
import type { Result } from "../../wire/result.ts";
import type { Arguments, OptionTable, PositionalSpec } from "./arguments.ts";
import type { Context } from "./context.ts";
import type { Failure } from "./failure.ts";

export type Command = {
  /** One word or two: `psql`, `approvals ls`. */
  readonly name: string;
  /** One line, lower case, for the list of commands. */
  readonly summary: string;
  /** Paragraphs and examples for `--help`, after the usage line. */
  readonly about?: string;
  readonly positionals: readonly PositionalSpec[];
  readonly options: OptionTable;
  /** Name in help of what may follow `--`; a command without it takes nothing there. */
  readonly native?: string;
  /** Resolves to the exit code, or to why it was not done. Never throws but for a bug. */
  readonly run: (context: Context, given: Arguments) => Promise<Result<number, Failure>>;
};

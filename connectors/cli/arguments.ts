/**
 * One table for the options of a command gives its parser, its help and its did-you-mean. Parsing is
 * node:util's parseArgs; the checks it does with exceptions are done here with values.
 */
import { parseArgs } from "node:util";
import { type Result, ok } from "../../wire/result.ts";
import { type Failure, usage } from "./failure.ts";

export type OptionSpec = {
  readonly short?: string;
  /** Name of the value in help, `FILE`; an option without it is a flag. */
  readonly value?: string;
  /** The command cannot do without it. */
  readonly required?: boolean;
  readonly about: string;
};
export type OptionTable = Readonly<Record<string, OptionSpec>>;

export type PositionalSpec = { readonly name: string; readonly about: string; readonly optional?: boolean };

/** Options that every command takes. */
export const GLOBAL_OPTIONS = {
  gateway: {
    value: "URL",
    about: "the gateway's address (or SALLY_GATEWAY; else the one you last signed in to)",
  },
  "token-file": {
    value: "FILE",
    about: "file with an ID token, read anew whenever one is needed (or SALLY_TOKEN_FILE)",
  },
  json: { about: "print the answer as one line of JSON" },
  "no-wait": {
    about: "fail at once (exit 4) with the approval's id where an operation is held, instead of waiting",
  },
  reason: { value: "TEXT", about: "why you do this; shown to reviewers and recorded" },
  task: { value: "TASK", about: "act in this task only (or SALLY_TASK)" },
  "actor-token-file": {
    value: "FILE",
    about: "file with the token of a workload that acts for the owner of the other token; both are recorded",
  },
  help: { short: "h", about: "show this help" },
} as const satisfies OptionTable;

export type Arguments = {
  readonly positionals: readonly string[];
  readonly flags: ReadonlySet<string>;
  readonly values: ReadonlyMap<string, string>;
  /** What came after `--`, for a native client; undefined when there was no `--`. */
  readonly native: readonly string[] | undefined;
};

/**
 * Parses the words after a command's name. Unknown options, missing and unexpected values are usage
 * failures; `takesNative` says that the command passes on what follows `--`.
 */
export function parseWords(
  words: readonly string[],
  own: OptionTable,
  takesNative: boolean,
): Result<Arguments, Failure> {
  const options: OptionTable = { ...GLOBAL_OPTIONS, ...own };
  const { tokens } = parseArgs({
    args: [...words],
    strict: false,
    allowPositionals: true,
    tokens: true,
    options: Object.fromEntries(
      Object.entries(options).map(([name, option]) => [
        name,
        {
          type: option.value === undefined ? ("boolean" as const) : ("string" as const),
          ...(option.short === undefined ? {} : { short: option.short }),
        },
      ]),
    ),
  });
  const positionals: string[] = [];
  const flags = new Set<string>();
  const values = new Map<string, string>();
  let native: string[] | undefined;
  for (const token of tokens) {
    if (token.kind === "option-terminator") {
      if (takesNative) native = [];
    } else if (token.kind === "positional") {
      (native ?? positionals).push(token.value);
    } else {
      const option = options[token.name];
      if (option === undefined) return unknownOption(token.rawName, options, takesNative);
      if (option.value === undefined) {
        if (token.value !== undefined) return usage(`option --${token.name} takes no value`);
        flags.add(token.name);
      } else {
        const missing = token.value === undefined || (!token.inlineValue && /^-./.test(token.value));
        if (missing) return usage(`option --${token.name} needs a value: --${token.name} ${option.value}`);
        values.set(token.name, token.value ?? "");
      }
    }
  }
  return ok({ positionals, flags, values, native });
}

function unknownOption(
  rawName: string,
  options: OptionTable,
  takesNative: boolean,
): ReturnType<typeof usage> {
  const close = rawName.startsWith("--") ? closest(rawName.slice(2), Object.keys(options)) : undefined;
  const hint =
    close !== undefined
      ? `did you mean --${close}?`
      : takesNative
        ? "options of the native client go after --"
        : "see --help for the options";
  return usage(`unknown option ${rawName}`, hint);
}

/** The candidate nearest to `word` by edit distance, if it is near enough to be a slip. */
export function closest(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(word, candidate);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Damerau-Levenshtein distance (adjacent transpositions count once) of two short words. */
function editDistance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 3 || a.length > 64) return Infinity;
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min(
        (previous[j] ?? 0) + 1,
        (row[j - 1] ?? 0) + 1,
        (previous[j - 1] ?? 0) + (same ? 0 : 1),
      );
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, (beforePrevious[j - 2] ?? 0) + 1);
      }
      row.push(cost);
    }
    beforePrevious = previous;
    previous = row;
  }
  return previous[b.length] ?? Infinity;
}

/** Pieces that the shapes of all configuration share: objects that know their keys, names, durations, sizes. */
import { z } from "zod";

/**
 * An object that refuses unknown keys. The message of that issue is the list of the keys that it knows,
 * which `explainIssue` turns into a sentence.
 */
export function object<T extends z.ZodRawShape>(shape: T): z.ZodObject<T, z.core.$strict> {
  return z.strictObject(shape, {
    error: (issue) => (issue.code === "unrecognized_keys" ? Object.keys(shape).join(", ") : undefined),
  });
}

/** Name of a resource or a connector. */
export const name = z
  .string()
  .regex(
    /^[a-z0-9][a-z0-9._-]{0,62}$/,
    "a name has 1 to 63 of a-z, 0-9, '.', '_' and '-', and starts with a letter or digit",
  );

const visible = /^[^\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]+$/u;

/** Text without control or invisible characters. */
export function text(limit: number): z.ZodString {
  return z
    .string()
    .min(1, "must not be empty")
    .max(limit, `has more than ${limit} characters`)
    .regex(visible, "must not hold control or invisible characters");
}

/** One value or a list of them. */
export function oneOrMore<T extends z.ZodType>(item: T) {
  const list = z.array(item).min(1, "must not be empty");
  return z.preprocess((value) => (Array.isArray(value) || value === undefined ? value : [value]), list);
}

const DURATION_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
const SIZE_UNITS: Readonly<Record<string, number>> = { B: 1, KiB: 1 << 10, MiB: 1 << 20 };

/** `90s`, `5m`, `1h` as milliseconds, within bounds. */
export function duration(minimum: number, maximum: number) {
  return quantity(DURATION_UNITS, "a duration such as 90s, 5m or 1h", minimum, maximum);
}

/** `64KiB`, `1MiB` as bytes, within bounds. */
export function size(minimum: number, maximum: number) {
  return quantity(SIZE_UNITS, "a size such as 512B, 64KiB or 1MiB", minimum, maximum);
}

function quantity(units: Readonly<Record<string, number>>, what: string, minimum: number, maximum: number) {
  return z.unknown().transform((given, context): number => {
    const match = typeof given === "string" ? /^(\d{1,9})([A-Za-z]+)$/.exec(given) : null;
    const unit = match?.[2] === undefined || !Object.hasOwn(units, match[2]) ? undefined : units[match[2]];
    if (match === null || unit === undefined) {
      context.addIssue({ code: "custom", message: `must be ${what}` });
      return z.NEVER;
    }
    const value = Number(match[1]) * unit;
    if (value < minimum || value > maximum) {
      context.addIssue({
        code: "custom",
        message: `is out of bounds: from ${show(minimum, units)} to ${show(maximum, units)}`,
      });
      return z.NEVER;
    }
    return value;
  });
}

function show(value: number, units: Readonly<Record<string, number>>): string {
  const fitting = Object.entries(units).findLast(([, unit]) => value % unit === 0 && value >= unit);
  return fitting === undefined ? `${value}` : `${value / fitting[1]}${fitting[0]}`;
}

/** Marks an issue as being about the key at the end of its path, not about the value. */
export const AT_KEY = { atKey: true } as const;

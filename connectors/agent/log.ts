/**
 * The connector's log: one JSON object a line on stderr, with kinds, sizes and identifiers. Never a secret, never
 * a byte of what passes (DESIGN section 9, rule 4).
 */

export type LogLevel = "info" | "warn" | "error";
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

export type Log = {
  readonly info: (event: string, fields?: LogFields) => void;
  readonly warn: (event: string, fields?: LogFields) => void;
  readonly error: (event: string, fields?: LogFields) => void;
  /** The same log with these fields on every line. */
  readonly with: (fields: LogFields) => Log;
};

/** A field's text longer than this is cut: some of it comes from servers. */
const MAX_TEXT = 1000;

export function createLog(
  write: (line: string) => void,
  now: () => Date = () => new Date(),
  always: LogFields = {},
): Log {
  const line = (level: LogLevel, event: string, fields: LogFields = {}) => {
    const entry: Record<string, unknown> = { time: now().toISOString(), level, event };
    for (const [name, value] of Object.entries({ ...always, ...fields })) {
      if (value !== undefined) entry[name] = typeof value === "string" ? value.slice(0, MAX_TEXT) : value;
    }
    write(`${JSON.stringify(entry)}\n`);
  };
  return {
    info: (event, fields) => line("info", event, fields),
    warn: (event, fields) => line("warn", event, fields),
    error: (event, fields) => line("error", event, fields),
    with: (fields) => createLog(write, now, { ...always, ...fields }),
  };
}

/** The options of `npm start -- …`. */
import { parseArgs } from "node:util";

export const USAGE = `usage: npm start [-- options]

Runs Sallyport on this machine: the gateway, a connector, an identity provider and a PostgreSQL with a shop in it.
State is kept in .demo/; remove that directory to start afresh.

  --json            when ready, print one line of JSON in place of what to try
  --port PORT       port of the gateway (default: a free one, kept from start to start)
  --directory DIR   keep the state there in place of .demo/
  --help            show this`;

export type DemoArguments = {
  readonly json: boolean;
  readonly help: boolean;
  readonly port: number | undefined;
  readonly directory: string | undefined;
};

/** Parses the options; a string says what is wrong with them. */
export function parseDemoArguments(args: readonly string[]): DemoArguments | string {
  let values: {
    json?: boolean | undefined;
    help?: boolean | undefined;
    port?: string | undefined;
    directory?: string | undefined;
  };
  try {
    ({ values } = parseArgs({
      args: [...args],
      options: {
        json: { type: "boolean" },
        help: { type: "boolean", short: "h" },
        port: { type: "string" },
        directory: { type: "string" },
      },
    }));
  } catch (error) {
    return error instanceof Error ? (error.message.split(". ")[0] ?? error.message) : String(error);
  }
  const port = values.port === undefined ? undefined : Number(values.port);
  if (port !== undefined && !(Number.isInteger(port) && port > 0 && port < 65536)) {
    return `--port takes a number from 1 to 65535, not ${values.port}`;
  }
  return { json: values.json ?? false, help: values.help ?? false, port, directory: values.directory };
}

/** What a command knows of the world: nothing in `connectors/cli` reads the process's globals but `main.ts`. */
import type { Terminal } from "./terminal.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

export type Context = {
  readonly terminal: Terminal;
  readonly environment: Environment;
  /** `--gateway`, not yet checked. */
  readonly gateway: string | undefined;
  /** `--token-file`. */
  readonly tokenFile: string | undefined;
  readonly json: boolean;
  readonly noWait: boolean;
  readonly reason: string | undefined;
  /** `--task`: identifier of the task to act in. */
  readonly task?: string | undefined;
  /** `--actor-token-file`: who acts for the owner of the token. */
  readonly actorTokenFile?: string | undefined;
};

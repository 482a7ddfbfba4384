/** Starts the gateway and the connector again when they die, as systemd or Kubernetes would. */
import { type Exit, type Supervised, describe } from "../lib/processes.ts";
import type { System } from "../lib/system.ts";

export type KeepRunningOptions = {
  readonly isStopping: () => boolean;
  readonly say: (text: string) => void;
  /** Called for a process that is not started again, or not any more. */
  readonly giveUp: (name: string, exit: Exit) => void;
};

/** So many deaths of one process within a minute are no accident. */
const DEATHS_A_MINUTE = 5;

export function keepRunning(system: System, options: KeepRunningOptions): void {
  watch(
    () => system.gateway.process,
    () => system.startGateway(),
    options,
  );
  watch(
    () => system.connector,
    () => system.startConnector(),
    options,
  );
  // What holds the data is left for the user to look at.
  for (const child of [system.postgres.process, system.oidc.process]) {
    void child.exited.then((exit) => {
      if (!options.isStopping()) options.giveUp(child.name, exit);
    });
  }
}

function watch(current: () => Supervised, start: () => Promise<void>, options: KeepRunningOptions): void {
  const deaths: number[] = [];
  const follow = (): void => {
    const { name, exited } = current();
    void exited.then(async (exit) => {
      if (options.isStopping()) return;
      const now = performance.now();
      deaths.push(now);
      if (deaths.filter((at) => now - at < 60_000).length >= DEATHS_A_MINUTE)
        return options.giveUp(name, exit);
      options.say(`${name} ended (${describe(exit)}), starting it again`);
      try {
        await start();
        options.say(`${name} runs again`);
        follow();
      } catch (error) {
        options.say(error instanceof Error ? error.message : String(error));
        options.giveUp(name, exit);
      }
    });
  };
  follow();
}

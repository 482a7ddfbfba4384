/** A real connector process, started from a config file in a directory of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";

export type LogLine = { readonly level: string; readonly event: string; readonly [field: string]: unknown };

export class ConnectorProcess {
  readonly child: ChildProcess;
  readonly directory: string;
  stderr = "";
  stdout = "";

  private constructor(child: ChildProcess, directory: string) {
    this.child = child;
    this.directory = directory;
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (this.stderr += text));
    child.stdout?.setEncoding("utf8").on("data", (text: string) => (this.stdout += text));
  }

  /** `config` is written as YAML beside the state directory, which it names unless it says otherwise. */
  static async start(
    config: Record<string, unknown> | string,
    environment: Record<string, string> = {},
    directory?: string,
  ): Promise<ConnectorProcess> {
    const where = directory ?? (await mkdtemp(join(tmpdir(), "connector-")));
    const file = join(where, "connector.yaml");
    const text =
      typeof config === "string" ? config : stringify({ stateDirectory: join(where, "state"), ...config });
    await writeFile(file, text);
    const child = spawn(process.execPath, ["connectors/agent/main.ts", "--config", file], {
      env: { PATH: process.env["PATH"] ?? "", ...environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    return new ConnectorProcess(child, where);
  }

  get log(): LogLine[] {
    return this.stderr
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line) as LogLine);
  }

  event(name: string): LogLine | undefined {
    return this.log.findLast((line) => line.event === name);
  }

  async exit(milliseconds = 10_000): Promise<number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      await Promise.race([
        once(this.child, "exit"),
        new Promise((resolve) => setTimeout(resolve, milliseconds)),
      ]);
    }
    return this.child.exitCode;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill("SIGKILL");
      await once(this.child, "exit");
    }
    await rm(this.directory, { recursive: true, force: true });
  }
}

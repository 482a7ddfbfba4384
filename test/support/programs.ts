/**
 * Programs that come as Go modules (test/support/programs) and that `.ci/go-programs` has built, once, outside of the
 * tree. A test that wants one which is not there says so in its name, it does not pretend.
 */
import { createHash } from "node:crypto";
import { accessSync, constants, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

const MODULES = join(import.meta.dirname, "programs");

export type Program = "helm" | "kube-apiserver";

/** Where it is, or undefined. The name of its directory is made as `.ci/go-programs` makes it. */
export function findProgram(name: Program): string | undefined {
  const hash = createHash("sha256");
  for (const file of ["go.mod", "go.sum"]) hash.update(readFileSync(join(MODULES, name, file)));
  const cache =
    process.env["SALLY_PROGRAMS"] ??
    join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "sallyport");
  return executable(join(cache, `${name}-${hash.digest("hex").slice(0, 16)}`, name));
}

/** The distribution's etcd. */
export function findEtcd(): string | undefined {
  return executable("/usr/bin/etcd") ?? executable("/usr/local/bin/etcd");
}

function executable(path: string): string | undefined {
  try {
    accessSync(path, constants.X_OK);
    return path;
  } catch {
    return undefined;
  }
}

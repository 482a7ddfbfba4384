/** kubeconfig files: a whole one for one command, or a context merged into the user's own. */
import { randomUUID } from "node:crypto";
import { mkdir, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { type Document, type YAMLSeq, isMap, isSeq, parseDocument, stringify } from "yaml";
import { EXIT } from "../../wire/refusals.ts";
import { type Result, ok } from "../../wire/result.ts";
import type { Environment } from "./context.ts";
import { type Failure, fail, reasonOf } from "./failure.ts";

/** What stands in a kubeconfig for one cluster behind the gateway. */
export type KubeContext = {
  /** Name of the context. */
  readonly name: string;
  /** Name of the cluster and of the user: the gateway's host and the resource. */
  readonly entry: string;
  readonly server: string;
  readonly namespace?: string;
  /** PEM of the authority that the gateway's certificate is from. */
  readonly authority?: string;
  /** The credential plugin's command line, without its program. */
  readonly program: string;
  readonly words: readonly string[];
};

/** A kubeconfig with one context, without credentials. */
export function temporaryKubeconfig(name: string, server: string): string {
  return stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name, cluster: { server } }],
    users: [{ name, user: {} }],
    contexts: [{ name, context: { cluster: name, user: name } }],
    "current-context": name,
  });
}

/** The lists of a kubeconfig and what is put into each. */
export function entriesOf(context: KubeContext): Readonly<Record<string, { readonly name: string }>> {
  const { name, entry, server, namespace, authority, program, words } = context;
  return {
    clusters: {
      name: entry,
      cluster: {
        server,
        ...(authority === undefined
          ? {}
          : { "certificate-authority-data": Buffer.from(authority, "utf8").toString("base64") }),
      },
    } as { name: string },
    users: {
      name: entry,
      user: {
        exec: {
          apiVersion: "client.authentication.k8s.io/v1",
          command: program,
          args: [...words],
          interactiveMode: "Never",
          provideClusterInfo: false,
          installHint:
            "sally gives kubectl its tokens; put it where this file says, or run sally kubeconfig again",
        },
      },
    } as { name: string },
    contexts: {
      name,
      context: { cluster: entry, user: entry, ...(namespace === undefined ? {} : { namespace }) },
    } as { name: string },
  };
}

/** The user's file: the first that KUBECONFIG names, else `~/.kube/config`. */
export function kubeconfigFile(environment: Environment): string {
  const named = (environment["KUBECONFIG"] ?? "").split(delimiter).find((path) => path !== "");
  return named ?? join(environment["HOME"] ?? homedir(), ".kube", "config");
}

/**
 * Puts the context into a file, beside what is there; entries of the same names are replaced. Written whole and
 * moved into place, under the lock that kubectl takes too.
 *
 * @param use make it the current context; it also becomes that where there is none
 */
export async function mergeKubeconfig(
  file: string,
  context: KubeContext,
  use: boolean,
): Promise<Result<{ readonly current: boolean }, Failure>> {
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    const lock = await takeLock(`${file}.lock`);
    if (!lock.ok) return lock;
    try {
      const text = await readIfThere(file);
      const document = parseDocument(text.trim() === "" ? "apiVersion: v1\nkind: Config\n" : text);
      if (document.errors.length > 0 || !isMap(document.contents))
        return fail(EXIT.failed, `${file} is not a kubeconfig`, { hint: "choose another with --file" });
      for (const [list, entry] of Object.entries(entriesOf(context))) replaceIn(document, list, entry);
      const before: unknown = document.get("current-context");
      const current = use || typeof before !== "string" || before === "";
      if (current) document.set("current-context", context.name);
      const next = `${file}.${randomUUID()}`;
      await writeFile(next, document.toString(), { mode: 0o600 });
      await rename(next, file);
      return ok({ current });
    } finally {
      await rm(`${file}.lock`, { force: true });
    }
  } catch (error) {
    return fail(EXIT.failed, `cannot write ${file}: ${reasonOf(error)}`);
  }
}

function replaceIn(document: Document, list: string, entry: { readonly name: string }): void {
  let entries: unknown = document.get(list);
  if (!isSeq(entries)) {
    entries = document.createNode([]);
    document.set(list, entries);
  }
  const sequence = entries as YAMLSeq;
  sequence.flow = false;
  const at = sequence.items.findIndex((item) => isMap(item) && item.get("name") === entry.name);
  if (at < 0) sequence.add(document.createNode(entry));
  else sequence.set(at, document.createNode(entry));
}

const LOCK_TRIES = 50;
const LOCK_WAIT_MS = 100;

/** client-go's own way: a file beside it that only one can make. */
async function takeLock(file: string): Promise<Result<void, Failure>> {
  for (let tried = 0; tried < LOCK_TRIES; tried++) {
    try {
      await (await open(file, "wx", 0o600)).close();
      return ok(undefined);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      await new Promise((resolve) => setTimeout(resolve, LOCK_WAIT_MS));
    }
  }
  return fail(EXIT.failed, `another program holds ${file}`, { hint: "remove it if there is none" });
}

async function readIfThere(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
}

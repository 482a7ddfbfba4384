/** A cluster behind a local port, and a kubeconfig that leads there for as long as one command runs. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Result, ok } from "../../wire/result.ts";
import type { CommandDoor } from "./command-door.ts";
import type { Context } from "./context.ts";
import type { Failure } from "./failure.ts";
import { openHttpDoor } from "./http-door.ts";
import { temporaryKubeconfig } from "./kubeconfig.ts";
import { withoutToken } from "./native-client.ts";
import { warnUnguarded } from "./postgres-access.ts";
import type { SessionTokens } from "./session-token.ts";

/**
 * Opens the port and writes the file. kubectl sends credentials over TLS only, so the port adds the token: the file
 * holds none.
 */
export async function openKubernetesDoor(
  context: Context,
  resource: string,
  tokens?: SessionTokens,
): Promise<Result<CommandDoor, Failure>> {
  const door = await openHttpDoor(context, resource, 0, tokens, "k8s");
  if (!door.ok) return door;
  warnUnguarded(context, door.value);
  const { url, outcome, close } = door.value;
  const directory = await mkdtemp(join(tmpdir(), "sally-kube-"));
  const file = join(directory, "config");
  await writeFile(file, temporaryKubeconfig(resource, url), { mode: 0o600 });
  return ok({
    outcome,
    // What kubectl keeps of a server it keeps under its port, which nobody will meet again.
    environment: (from) => ({
      ...withoutToken(from),
      KUBECONFIG: file,
      KUBECACHEDIR: join(directory, "cache"),
    }),
    close: async () => {
      await close(0);
      await rm(directory, { recursive: true, force: true });
    },
  });
}

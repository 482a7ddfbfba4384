import { ok } from "../../../wire/result.ts";
import type { Command } from "../command.ts";
import { openKubernetesDoor } from "../kubernetes-door.ts";
import { runNative } from "../native-client.ts";

export const kubectl: Command = {
  name: "kubectl",
  summary: "run kubectl against a cluster",
  about: `What follows -- goes to kubectl (1.31 or newer). It finds the cluster through a kubeconfig and a port of
this machine that last as long as it runs. Its exit code passes through, except that after a request was
denied or held a failing kubectl gives 3 or 4. For Helm, k9s and other programs see sally run and sally
kubeconfig.

  sally kubectl prod -- get pods -A
  sally kubectl prod -- exec -it deploy/web -- sh
  sally kubectl prod --reason "INC-42" -- rollout restart deploy/web
  sally run prod -- helm list -A`,
  positionals: [{ name: "RESOURCE", about: "the cluster, as sally ls names it" }],
  options: {},
  native: "KUBECTL-ARGUMENTS",
  run: async (context, given) => {
    const door = await openKubernetesDoor(context, given.positionals[0] ?? "");
    if (!door.ok) return door;
    const ended = await runNative({
      program: "kubectl",
      words: given.native ?? [],
      environment: door.value.environment(context.environment),
      installHint: "install it from: https://kubernetes.io/docs/tasks/tools/",
    });
    await door.value.close();
    return ended.ok ? ok(door.value.outcome.exitCode(ended.value)) : ended;
  },
};

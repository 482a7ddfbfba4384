import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { z } from "zod";
import { EXIT } from "../../../wire/refusals.ts";
import { type Result, ok } from "../../../wire/result.ts";
import { Resources } from "../answers.ts";
import { type Api, openApi } from "../api.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { type Failure, fail, reasonOf } from "../failure.ts";
import { resolveGateway } from "../gateway.ts";
import { parseJson } from "../http.ts";
import { kubeconfigFile, mergeKubeconfig } from "../kubeconfig.ts";
import { sessionTokens } from "../session-token.ts";
import { SALLY } from "../ssh-client.ts";
import { say, toJson, visibleLine } from "../terminal.ts";

const CLUSTER = { name: "RESOURCE", about: "the cluster, as sally ls names it" };

export const kubeconfig: Command = {
  name: "kubeconfig",
  summary: "write a kubectl context for a cluster",
  about: `Puts a cluster, a user and a context into your kubeconfig, beside what is there. No token is written:
kubectl asks sally for one whenever it needs it, without a browser as long as your sign-in lasts. The context
is made the current one when there is none yet, or with --use. Helm, k9s and every client-go program read the
same file.

kubectl sends credentials over https only. For a gateway at http:// on this machine use sally kubectl or
sally run.

  sally kubeconfig prod --use
  kubectl --context prod get pods`,
  positionals: [CLUSTER],
  options: {
    file: { value: "FILE", about: "the kubeconfig (default: the first of KUBECONFIG, else ~/.kube/config)" },
    context: { value: "NAME", about: "name of the context (default: the resource's)" },
    namespace: { value: "NAMESPACE", about: "namespace of the context" },
    ca: {
      value: "FILE",
      about: "PEM file with the authority of the gateway's certificate, where it is your own",
    },
    use: { about: "make it the current context" },
  },
  run: async (context, given) => {
    const resource = given.positionals[0] ?? "";
    const api = await openApi(context);
    if (!api.ok) return api;
    const known = await isCluster(api.value, resource);
    if (!known.ok) return known;
    const { gateway } = api.value;
    const authority = await readAuthority(given.values.get("ca"));
    if (!authority.ok) return authority;
    const name = given.values.get("context") ?? resource;
    const file = resolve(given.values.get("file") ?? kubeconfigFile(context.environment));
    const namespace = given.values.get("namespace");
    const merged = await mergeKubeconfig(
      file,
      {
        name,
        entry: `${new URL(gateway).host}/${resource}`,
        server: `${gateway}/k8s/${resource}`,
        ...(namespace === undefined ? {} : { namespace }),
        ...(authority.value === undefined ? {} : { authority: authority.value }),
        program: SALLY,
        words: pluginWords(context, gateway, resource),
      },
      given.flags.has("use"),
    );
    if (!merged.ok) return merged;
    const { current } = merged.value;
    if (context.json) context.terminal.out(`${toJson({ file, context: name, current })}\n`);
    else {
      const option = current ? "" : ` --context ${visibleLine(name)}`;
      context.terminal.out(`kubectl${option} get pods\n`);
      say(context.terminal, `wrote context ${name} to ${file}`);
    }
    if (gateway.startsWith("http:"))
      say(context.terminal, `kubectl sends no token to ${gateway}: use sally kubectl ${resource} -- …`);
    return ok(0);
  },
};

async function isCluster(api: Api, resource: string): Promise<Result<void, Failure>> {
  const answer = await api.call(Resources, "GET", "/v1/resources");
  if (!answer.ok) return answer;
  const found = answer.value.resources.find(({ name }) => name === resource);
  if (found?.protocol === "kubernetes") return ok(undefined);
  const what =
    found === undefined ? "is no resource that you can reach" : `is not a cluster (${found.protocol})`;
  return fail(EXIT.failed, `${resource} ${what}`, { hint: "see what there is with: sally ls" });
}

async function readAuthority(file: string | undefined): Promise<Result<string | undefined, Failure>> {
  if (file === undefined) return ok(undefined);
  try {
    const text = await readFile(file, "utf8");
    if (text.includes("-----BEGIN CERTIFICATE-----")) return ok(text);
    return fail(EXIT.failed, `${file} holds no certificate in PEM`);
  } catch (error) {
    return fail(EXIT.failed, `cannot read ${file}: ${reasonOf(error)}`);
  }
}

/** What makes this sally act as the one that wrote the file, wherever kubectl is run. */
function pluginWords(context: Context, gateway: string, resource: string): string[] {
  const { tokenFile, task, actorTokenFile } = context;
  return [
    "kube-token",
    resource,
    `--gateway=${gateway}`,
    ...(tokenFile === undefined ? [] : [`--token-file=${resolve(tokenFile)}`]),
    ...(task === undefined ? [] : [`--task=${task}`]),
    ...(actorTokenFile === undefined ? [] : [`--actor-token-file=${resolve(actorTokenFile)}`]),
  ];
}

/** Of KUBERNETES_EXEC_INFO: the form in which kubectl wants its answer. */
const ExecInfo = z.looseObject({
  apiVersion: z.enum(["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"]),
});

/** kubectl is to come back for a new token before this one has run out. */
const EARLY_MS = 30_000;

export const kubeToken: Command = {
  name: "kube-token",
  summary: "print a token for kubectl (its credential plugin)",
  about: `kubectl runs this by itself, as sally kubeconfig has written it down. It never opens a browser: when
your sign-in has ended it says so, and sally login is for you to run.`,
  positionals: [CLUSTER],
  options: {},
  run: async (context, given) => {
    const gateway = await resolveGateway(context);
    if (!gateway.ok) return gateway;
    // kubectl can send a bearer token and nothing else: no proof of a key.
    const tokens = sessionTokens(context, gateway.value, [given.positionals[0] ?? ""], { unbound: true });
    const token = await tokens.get();
    if (!token.ok) return token;
    const asked = ExecInfo.safeParse(parseJson(context.environment["KUBERNETES_EXEC_INFO"] ?? ""));
    const expirationTimestamp = new Date(token.value.expiresAt - EARLY_MS).toISOString();
    context.terminal.out(
      `${toJson({
        apiVersion: asked.data?.apiVersion ?? "client.authentication.k8s.io/v1",
        kind: "ExecCredential",
        status: { token: token.value.token, expirationTimestamp },
      })}\n`,
    );
    return ok(0);
  },
};

/** How the system's ssh is led through the gateway: as options for one run, or as a file for all of its tools. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Result, ok } from "../../wire/result.ts";
import { SshHostKey } from "./answers.ts";
import { type Api, openApi } from "./api.ts";
import type { Context } from "./context.ts";
import type { Failure } from "./failure.ts";
import { knownHostsFile, writeKnownHosts } from "./store.ts";

/** Environment variable naming the file in which `sally proxy` leaves what `sally ssh` has to exit with. */
export const OUTCOME_FILE = "SALLY_SSH_OUTCOME_FILE";

/** Settings of ssh_config, in order. */
export type SshSettings = readonly (readonly [string, string])[];

/** The program that runs, by its whole path. */
export const SALLY = fileURLToPath(new URL("../../bin/sally", import.meta.url));

/** Under this name the gateway's key stands in known_hosts, whatever resource is asked for. */
export function knownHostsAlias(gateway: string): string {
  return `sallyport.${new URL(gateway).host.replace(/[^A-Za-z0-9.-]/g, ".")}`;
}

/** Fetches the gateway's host key over its own, authenticated address and keeps it for ssh. */
export async function learnHostKey(context: Context, api: Api): Promise<Result<void, Failure>> {
  const answer = await api.call(SshHostKey, "GET", "/v1/ssh/host-key");
  if (!answer.ok) return answer;
  const line = `${knownHostsAlias(api.gateway)} ${answer.value.hostKey}\n`;
  return writeKnownHosts(context.environment, api.gateway, line);
}

/** The settings, with the host key learnt if it is not known yet. */
export async function sshSettings(context: Context): Promise<Result<SshSettings, Failure>> {
  const api = await openApi(context);
  if (!api.ok) return api;
  const known = await needHostKey(context, api.value);
  return known.ok ? ok(settingsFor(context, api.value.gateway)) : known;
}

/** Learns the gateway's host key unless it is known. */
export async function needHostKey(context: Context, api: Api): Promise<Result<void, Failure>> {
  if (existsSync(knownHostsFile(context.environment, api.gateway))) return ok(undefined);
  return learnHostKey(context, api);
}

export function settingsFor(context: Context, gateway: string): SshSettings {
  return [["ProxyCommand", proxyCommand(context, gateway)], ...trustedSettings(context, gateway)];
}

/** The text of an ssh_config that leads `host` to a port of this machine behind which its session is. */
export function configForPort(context: Context, gateway: string, host: string, port: number): string {
  const settings: SshSettings = [
    ["HostName", "127.0.0.1"],
    ["Port", String(port)],
    // A master would let a later command in when the door is closed to it.
    ["ControlPath", "none"],
    ...trustedSettings(context, gateway),
  ];
  return `Host ${host}\n${settings.map(([name, value]) => `  ${name} ${value}\n`).join("")}`;
}

/** What holds however ssh gets there: it is the gateway that answers, and no secret of the user's goes there. */
function trustedSettings(context: Context, gateway: string): SshSettings {
  return [
    ["HostKeyAlias", knownHostsAlias(gateway)],
    ["HostKeyAlgorithms", "ssh-ed25519"],
    ["UserKnownHostsFile", quoteSetting(knownHostsFile(context.environment, gateway))],
    ["GlobalKnownHostsFile", "none"],
    ["StrictHostKeyChecking", "yes"],
    ["UpdateHostKeys", "no"],
    ["CheckHostIP", "no"],
    // The session's token is the login: no key of the user's is offered to anybody.
    ["IdentitiesOnly", "yes"],
    ["IdentityFile", "none"],
    ["PubkeyAuthentication", "no"],
    ["PasswordAuthentication", "no"],
    ["KbdInteractiveAuthentication", "no"],
    ["GSSAPIAuthentication", "no"],
    ["ForwardAgent", "no"],
    ["ForwardX11", "no"],
  ];
}

/** `%h` is the resource. ssh hands the line to the user's shell, after an `exec` of its own. */
function proxyCommand(context: Context, gateway: string): string {
  const words = [
    SALLY,
    "proxy",
    "--gateway",
    gateway,
    ...(context.tokenFile === undefined ? [] : ["--token-file", context.tokenFile]),
    // A step that lost its task on the way would act with all of the user's rights.
    ...(context.task === undefined ? [] : [`--task=${context.task}`]),
    ...(context.actorTokenFile === undefined ? [] : [`--actor-token-file=${context.actorTokenFile}`]),
    ...(context.noWait ? ["--no-wait"] : []),
    ...(context.reason === undefined ? [] : [`--reason=${context.reason}`]),
    "--",
  ];
  return `${words.map(shellQuote).join(" ")} %h`;
}

/** For the shell, and then for ssh, to which `%` means something. */
function shellQuote(word: string): string {
  const quoted = /^[A-Za-z0-9_@+:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
  return quoted.replaceAll("%", "%%");
}

/** A file name in a setting: `%` and spaces mean something there. */
function quoteSetting(path: string): string {
  return `"${path.replaceAll("%", "%%")}"`;
}

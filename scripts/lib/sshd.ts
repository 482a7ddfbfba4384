/** A real OpenSSH server of one's own: on a free port of 127.0.0.1, with keys and files in one directory. */
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { userInfo } from "node:os";
import { join } from "node:path";
import { freePort } from "./ports.ts";
import { makeKey } from "./ssh-keys.ts";
import { type Supervised, supervise } from "./processes.ts";

const SSHD = "/usr/sbin/sshd";
export const SFTP_SERVERS = [
  "/usr/lib/openssh/sftp-server",
  "/usr/libexec/openssh/sftp-server",
  "/usr/libexec/sftp-server",
];

/** A server to log in to, whatever runs it. */
export type SshTarget = {
  readonly port: number;
  /** The account that logs in: whoever runs this. */
  readonly user: string;
  /** The server's public key, as known_hosts has it after the host. */
  readonly hostKey: string;
  /** File of a private key that may log in. */
  readonly keyFile: string;
  stop(): Promise<void>;
};

export type Sshd = SshTarget & {
  /** File of a certificate authority's private key, whose certificates may log in. */
  readonly authorityFile: string;
  readonly process: Supervised;
};

/** Whether this machine has an OpenSSH server to start. */
export function hasSshd(): boolean {
  return existsSync(SSHD);
}

/** Starts sshd. Keys in `directory` are used again, so that a host key stays the same. */
export async function startSshd(options: {
  readonly directory: string;
  readonly port?: number;
  readonly logFile?: string;
  /** Lines of sshd_config in front of ours; the first value of a setting counts. */
  readonly settings?: readonly string[];
}): Promise<Sshd> {
  const { directory } = options;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  // As root, sshd insists on its privilege separation directory.
  if (process.getuid?.() === 0) await mkdir("/run/sshd", { recursive: true, mode: 0o755 });
  const at = (name: string): string => join(directory, name);
  const hostKey = await makeKey(at("host_key"));
  const clientKey = await makeKey(at("client_key"));
  const authority = await makeKey(at("authority_key"));
  await writeFile(at("authorized_keys"), `${clientKey}\n`, { mode: 0o600 });
  await writeFile(at("trusted_authorities"), `${authority}\n`, { mode: 0o600 });
  const port = options.port ?? (await freePort());
  const sftp = SFTP_SERVERS.find((path) => existsSync(path)) ?? "internal-sftp";
  const lines = [
    ...(options.settings ?? []),
    `Port ${port}`,
    "ListenAddress 127.0.0.1",
    `HostKey ${at("host_key")}`,
    `PidFile ${at("sshd.pid")}`,
    `AuthorizedKeysFile ${at("authorized_keys")}`,
    `TrustedUserCAKeys ${at("trusted_authorities")}`,
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "PermitRootLogin prohibit-password",
    "StrictModes no",
    "UsePAM no",
    "AcceptEnv LANG LC_*",
    "MaxStartups 200",
    "MaxSessions 100",
    `Subsystem sftp ${sftp}`,
  ];
  await writeFile(at("sshd_config"), `${lines.join("\n")}\n`, { mode: 0o600 });
  const supervised = await supervise({
    name: "sshd",
    command: SSHD,
    args: ["-D", "-e", "-f", at("sshd_config")],
    env: process.env,
    ...(options.logFile === undefined ? {} : { logFile: options.logFile }),
  });
  await answering(port, supervised);
  return {
    port,
    user: userInfo().username,
    hostKey,
    keyFile: at("client_key"),
    authorityFile: at("authority_key"),
    process: supervised,
    stop: async () => {
      await supervised.stop("SIGTERM");
    },
  };
}

async function answering(port: number, supervised: Supervised): Promise<void> {
  let ended = false;
  void supervised.exited.then(() => (ended = true));
  for (let attempt = 0; attempt < 100; attempt += 1) {
    if (ended) break;
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect({ port, host: "127.0.0.1" });
      socket.once("connect", () => (socket.destroy(), resolve(true)));
      socket.once("error", () => resolve(false));
    });
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("sshd did not start");
}

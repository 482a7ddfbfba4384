/** A server for the demo's `web-1`: the machine's own OpenSSH where that works, else one of ours. */
import { readFile } from "node:fs/promises";
import ssh2 from "ssh2";
import { startSshServer } from "./ssh-server.ts";
import { type SshTarget, hasSshd, startSshd } from "./sshd.ts";

export async function startSshTarget(options: {
  readonly directory: string;
  readonly port?: number;
  readonly logFile: string;
}): Promise<SshTarget> {
  if (hasSshd()) {
    const sshd = await startSshd(options).catch(() => undefined);
    // An account may be locked, a hardened system may forbid it: then the machine's sshd is of no use here.
    if (sshd !== undefined && (await canLogIn(sshd))) return sshd;
    await sshd?.stop();
  }
  return startSshServer(options);
}

async function canLogIn({ port, user, keyFile }: SshTarget): Promise<boolean> {
  const privateKey = await readFile(keyFile, "utf8");
  return new Promise((resolve) => {
    const client = new ssh2.Client();
    const settle = (able: boolean): void => {
      client.end();
      resolve(able);
    };
    client.once("ready", () => settle(true));
    client.on("error", () => settle(false));
    client.connect({ host: "127.0.0.1", port, username: user, privateKey, readyTimeout: 5000 });
  });
}

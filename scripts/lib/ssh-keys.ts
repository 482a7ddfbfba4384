/** Ed25519 key pairs in OpenSSH's form, made without ssh-keygen. */
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import ssh2 from "ssh2";

/** One key in 140 that ssh2 generates is malformed (it drops a leading zero of the key), also to ssh2 itself. */
function newPair(): ReturnType<typeof ssh2.utils.generateKeyPairSync> {
  for (;;) {
    const pair = ssh2.utils.generateKeyPairSync("ed25519", { comment: "sallyport" });
    if (!(ssh2.utils.parseKey(pair.private) instanceof Error)) return pair;
  }
}

/** Makes a key pair in `file` and `file`.pub unless it is there. Returns the public key, `type base64`. */
export async function makeKey(file: string): Promise<string> {
  if (!existsSync(file)) {
    const pair = newPair();
    await writeFile(`${file}.pub`, `${pair.public}\n`, { mode: 0o644 });
    await writeFile(file, pair.private, { mode: 0o600 });
  }
  return (await readFile(`${file}.pub`, "utf8")).split(" ").slice(0, 2).join(" ");
}

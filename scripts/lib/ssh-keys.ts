/** Ed25519 key pairs in OpenSSH's form, made without ssh-keygen. */
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import ssh2 from "ssh2";

/** Makes a key pair in `file` and `file`.pub unless it is there. Returns the public key, `type base64`. */
export async function makeKey(file: string): Promise<string> {
  if (!existsSync(file)) {
    const pair = ssh2.utils.generateKeyPairSync("ed25519", { comment: "sallyport" });
    await writeFile(`${file}.pub`, `${pair.public}\n`, { mode: 0o644 });
    await writeFile(file, pair.private, { mode: 0o600 });
  }
  return (await readFile(`${file}.pub`, "utf8")).split(" ").slice(0, 2).join(" ");
}

/** An authority and server certificates for TLS tests, made with openssl in a directory. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Key algorithm and signature hash of a certificate. */
export type CertificateKind = "rsa-sha256" | "ec-sha384" | "ed25519";

const NEW_KEY: Record<CertificateKind, string[]> = {
  "rsa-sha256": ["-newkey", "rsa:2048", "-sha256"],
  "ec-sha384": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-sha384"],
  ed25519: ["-newkey", "ed25519"],
};

/** Makes `<name>.key` and `<name>.crt`, self-signed. */
export async function makeAuthority(
  directory: string,
  name: string,
  kind: CertificateKind = "rsa-sha256",
): Promise<string> {
  await run("openssl", [
    ...["req", "-x509", "-nodes", "-days", "2", "-subj", `/CN=${name}`, ...NEW_KEY[kind]],
    ...["-addext", "basicConstraints=critical,CA:TRUE"],
    ...["-keyout", join(directory, `${name}.key`), "-out", join(directory, `${name}.crt`)],
  ]);
  return join(directory, `${name}.crt`);
}

/** A certificate for `subject` (subjectAltName syntax) by that authority. Its signature is of the authority's kind. */
export async function makeCertificate(
  directory: string,
  authority: string,
  subject: string,
  kind: CertificateKind = "rsa-sha256",
): Promise<{ key: string; certificate: string }> {
  const base = join(directory, `${authority}-${subject.replaceAll(/[^a-z0-9]/gi, "-")}`);
  await run("openssl", [
    ...["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=server", ...NEW_KEY[kind]],
    ...["-CA", join(directory, `${authority}.crt`), "-CAkey", join(directory, `${authority}.key`)],
    ...["-addext", `subjectAltName=${subject}`, "-addext", "basicConstraints=critical,CA:FALSE"],
    ...["-keyout", `${base}.key`, "-out", `${base}.crt`],
  ]);
  return { key: await readFile(`${base}.key`, "utf8"), certificate: await readFile(`${base}.crt`, "utf8") };
}

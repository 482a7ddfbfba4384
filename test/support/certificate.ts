/** A self-signed X.509 certificate (RFC 5280) around an RSA key, as identity providers publish theirs. */
import { generateKeyPairSync, sign } from "node:crypto";

export type Certified = { readonly privateKey: string; readonly certificate: string };

const RSA_SHA256 = sequence(hex("06092a864886f70d01010b"), hex("0500"));

export function selfSigned(bits = 2048): Certified {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: bits });
  const commonName = sequence(hex("0603550403"), der(0x0c, Buffer.from("provider")));
  const name = sequence(der(0x31, commonName));
  const time = (year: number): Buffer => der(0x17, Buffer.from(`${year}0101000000Z`));
  const body = sequence(
    der(0xa0, hex("020102")),
    hex("02020401"),
    RSA_SHA256,
    name,
    sequence(time(20), time(40)),
    name,
    publicKey.export({ type: "spki", format: "der" }),
  );
  const signature = sign("sha256", body, privateKey);
  const whole = sequence(body, RSA_SHA256, der(0x03, Buffer.concat([hex("00"), signature])));
  const lines = whole.toString("base64").match(/.{1,64}/g) ?? [];
  return {
    privateKey: privateKey.export({ type: "pkcs1", format: "pem" }).toString(),
    certificate: ["-----BEGIN CERTIFICATE-----", ...lines, "-----END CERTIFICATE-----", ""].join("\n"),
  };
}

function der(tag: number, content: Buffer): Buffer {
  const { length } = content;
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}

function sequence(...parts: Buffer[]): Buffer {
  return der(0x30, Buffer.concat(parts));
}

function hex(text: string): Buffer {
  return Buffer.from(text, "hex");
}

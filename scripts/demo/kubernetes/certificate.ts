/** A certificate authority of one's own and what it signs, for a server on the loopback interface (RFC 5280). */
import { type KeyObject, generateKeyPairSync, randomBytes, sign } from "node:crypto";

export type Issued = {
  /** PKCS #8. */
  readonly key: string;
  readonly certificate: string;
};

export type Authority = Issued & {
  /** A certificate for a server that is reached at 127.0.0.1, ::1 and by these names. */
  issue(commonName: string, names: readonly string[]): Issued;
};

const ECDSA_SHA256 = sequence(oid("2a8648ce3d040302"));
const BASIC_CONSTRAINTS = "551d13";
const KEY_USAGE = "551d0f";
const EXTENDED_KEY_USAGE = "551d25";
const SUBJECT_ALT_NAME = "551d11";
const SERVER_AUTH = "2b06010505070301";

/** Makes a new authority; nothing of it is kept anywhere. */
export function createAuthority(name: string): Authority {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const signer = { name, key: privateKey };
  const certificate = certify(signer, name, publicKey, [
    extension(BASIC_CONSTRAINTS, true, sequence(der(0x01, Buffer.from([0xff])))),
    // keyCertSign, cRLSign
    extension(KEY_USAGE, true, der(0x03, Buffer.from([1, 0x06]))),
  ]);
  return {
    key: pem(privateKey),
    certificate,
    issue: (commonName, names) => {
      const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
      const addresses = [Buffer.from([127, 0, 0, 1]), Buffer.concat([Buffer.alloc(15), Buffer.from([1])])];
      const alternatives = [
        ...names.map((each) => der(0x82, Buffer.from(each, "ascii"))),
        ...addresses.map((each) => der(0x87, each)),
      ];
      return {
        key: pem(pair.privateKey),
        certificate: certify(signer, commonName, pair.publicKey, [
          extension(SUBJECT_ALT_NAME, false, sequence(...alternatives)),
          extension(EXTENDED_KEY_USAGE, false, sequence(oid(SERVER_AUTH))),
          // digitalSignature
          extension(KEY_USAGE, true, der(0x03, Buffer.from([7, 0x80]))),
        ]),
      };
    },
  };
}

function certify(
  signer: { readonly name: string; readonly key: KeyObject },
  subject: string,
  publicKey: KeyObject,
  extensions: readonly Buffer[],
): string {
  const now = Date.now();
  const serial = Buffer.concat([Buffer.from([0x01]), randomBytes(15)]);
  const body = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, serial),
    ECDSA_SHA256,
    distinguishedName(signer.name),
    // Clocks of others may be a little behind.
    sequence(utcTime(now - 3600_000), utcTime(now + 5 * 365 * 86_400_000)),
    distinguishedName(subject),
    publicKey.export({ type: "spki", format: "der" }),
    der(0xa3, sequence(...extensions)),
  );
  const signature = sign("sha256", body, signer.key);
  const whole = sequence(body, ECDSA_SHA256, der(0x03, Buffer.concat([Buffer.alloc(1), signature])));
  const lines = whole.toString("base64").match(/.{1,64}/g) ?? [];
  return ["-----BEGIN CERTIFICATE-----", ...lines, "-----END CERTIFICATE-----", ""].join("\n");
}

function pem(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }).toString();
}

function distinguishedName(commonName: string): Buffer {
  return sequence(der(0x31, sequence(oid("550403"), der(0x0c, Buffer.from(commonName)))));
}

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  const flag = critical ? [der(0x01, Buffer.from([0xff]))] : [];
  return sequence(oid(id), ...flag, der(0x04, value));
}

/** YYMMDDHHMMSSZ: years from 1950 to 2049. */
function utcTime(at: number): Buffer {
  const digits = new Date(at).toISOString().replace(/[-:T]/g, "").slice(2, 14);
  return der(0x17, Buffer.from(`${digits}Z`));
}

function oid(hex: string): Buffer {
  return der(0x06, Buffer.from(hex, "hex"));
}

function sequence(...parts: Buffer[]): Buffer {
  return der(0x30, Buffer.concat(parts));
}

function der(tag: number, content: Buffer): Buffer {
  const { length } = content;
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}

/** The connector's login against real servers: PostgreSQL 18 and, where it is installed, 15. */
import { chmod, chown, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Target, reset } from "../../../connectors/agent/postgres/connect.ts";
import { Credential } from "../../../connectors/agent/postgres/credential.ts";
import type { OpenFailure } from "../../../connectors/agent/postgres/failure.ts";
import { SimpleQueries } from "../../../connectors/agent/postgres/simple-query.ts";
import { type Server, openServer } from "../../../connectors/agent/postgres/upstream.ts";
import {
  type Postgres,
  debianPostgres,
  generatePassword,
  startPostgres,
} from "../../../scripts/lib/postgres.ts";
import { type CertificateKind, makeAuthority, makeCertificate } from "./certificates.ts";
import { ManInTheMiddle } from "./man-in-the-middle.ts";

const PASSWORD = generatePassword();
/** Needs SASLprep: NFKC changes the ligature and the no-break space, the soft hyphen goes. */
const UNICODE_PASSWORD = "pässwörd\u00a0ﬁ\u00adx½";
/** SASLprep prohibits a control character, so PostgreSQL takes the password as it is. */
const PROHIBITED_PASSWORD = "bell\u0007ª";

const HBA = [
  "host all postgres 127.0.0.1/32 scram-sha-256",
  "host all trusted 127.0.0.1/32 trust",
  "host all clear 127.0.0.1/32 password",
  "host all digest 127.0.0.1/32 md5",
  "hostssl all tls_only 127.0.0.1/32 scram-sha-256",
  "hostnossl all tls_only 127.0.0.1/32 reject",
  "host all rejected 127.0.0.1/32 reject",
  "host all all 127.0.0.1/32 scram-sha-256",
];

type Version = { readonly name: string; readonly binaries: string | undefined; readonly major: number };
const debian15 = debianPostgres(15);
const versions: Version[] = [
  { name: "PostgreSQL 18", binaries: undefined, major: 18 },
  ...(debian15 === undefined ? [] : [{ name: "PostgreSQL 15", binaries: debian15, major: 15 }]),
];

describe.each(versions)("login to $name", (version) => {
  let directory: string;
  let postgres: Postgres;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "login-test-"));
    await makeAuthority(directory, "authority");
    await makeAuthority(directory, "stranger");
    await makeAuthority(directory, "authority-ec", "ec-sha384");
    await makeAuthority(directory, "authority-ed", "ed25519");
    postgres = await startPostgres({
      dataDirectory: join(directory, "pg"),
      superuserPassword: PASSWORD,
      unsafe: true,
      hba: HBA,
      ...(version.binaries === undefined ? {} : { binaries: version.binaries }),
    });
    await postgres.withClient("postgres", async (client) => {
      await client.query("SET password_encryption = 'md5'");
      await client.query(`CREATE ROLE digest LOGIN PASSWORD '${PASSWORD}'`);
      await client.query("SET password_encryption = 'scram-sha-256'");
      for (const role of ["trusted", "clear", "scram", "tls_only", "rejected"]) {
        await client.query(`CREATE ROLE ${role} LOGIN PASSWORD '${PASSWORD}'`);
      }
      await client.query(`CREATE ROLE unicode LOGIN PASSWORD '${UNICODE_PASSWORD}'`);
      await client.query(`CREATE ROLE prohibited LOGIN PASSWORD '${PROHIBITED_PASSWORD}'`);
      await client.query("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0");
    });
  });

  afterAll(async () => {
    await postgres?.stop();
    await rm(directory, { recursive: true, force: true });
  });

  /** Gives the running server a certificate and turns TLS on. */
  async function useCertificate(
    authority: string,
    subject: string,
    kind: CertificateKind = "rsa-sha256",
  ): Promise<void> {
    const { key, certificate } = await makeCertificate(directory, authority, subject, kind);
    const { uid, gid } = await stat(join(directory, "pg"));
    await writeFile(join(directory, "pg", "server.key"), key, { mode: 0o600 });
    await writeFile(join(directory, "pg", "server.crt"), certificate);
    await chmod(join(directory, "pg", "server.key"), 0o600);
    if (process.getuid?.() === 0) await chown(join(directory, "pg", "server.key"), uid, gid);
    await postgres.withClient("postgres", async (client) => {
      await client.query("ALTER SYSTEM SET ssl = on");
      await client.query("SELECT pg_reload_conf()");
      for (let i = 0; i < 100; i += 1) {
        const { rows } = await client.query<{ ssl: string }>("SHOW ssl");
        if (rows[0]?.ssl === "on") break;
      }
    });
    await new Promise((resolve) => setTimeout(resolve, 200));
  }

  async function server(
    user: string,
    password: string | undefined,
    tls: Partial<Target> = {},
  ): Promise<Server> {
    const credential = new Credential(password === undefined ? undefined : await secret(password));
    const address = { kind: "tcp", host: "127.0.0.1", port: postgres.port } as const;
    return {
      resource: "db",
      target: { address, tls: "off", ca: undefined, ...tls },
      user,
      database: "postgres",
      credential,
    };
  }

  async function secret(text: string): Promise<{ kind: "file"; path: string }> {
    const path = join(directory, `secret-${generatePassword()}`);
    await writeFile(path, `${text}\n`);
    return { kind: "file", path };
  }

  function ca(name: string): Promise<string> {
    return readFile(join(directory, `${name}.crt`), "utf8");
  }

  /** Logs in and asks who is there; the failure in words otherwise. */
  async function attempt(to: Server): Promise<string | OpenFailure> {
    const opened = await openServer(to, {}, new AbortController().signal);
    if (!opened.ok) return opened.error;
    const { connection, login } = opened.value;
    const signal = AbortSignal.timeout(5000);
    const rows = await new SimpleQueries(connection, login, signal, 1 << 20).run(
      "SELECT current_user, (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())",
    );
    reset(connection);
    return rows.ok ? (rows.value[0] ?? []).join(" ") : rows.error.detail;
  }

  it("logs in without a password where the server trusts", async () => {
    expect(await attempt(await server("trusted", undefined))).toBe("trusted f");
  });

  it("logs in with MD5 and with SCRAM-SHA-256", async () => {
    expect(await attempt(await server("digest", PASSWORD))).toBe("digest f");
    expect(await attempt(await server("scram", PASSWORD))).toBe("scram f");
  });

  it("prepares passwords as PostgreSQL does", async () => {
    expect(await attempt(await server("unicode", UNICODE_PASSWORD))).toBe("unicode f");
    expect(await attempt(await server("unicode", "pässwörd fix1⁄2"))).toBe("unicode f");
    expect(await attempt(await server("prohibited", PROHIBITED_PASSWORD))).toBe("prohibited f");
  });

  it("never sends a password in clear text over an unprotected connection", async () => {
    expect(await attempt(await server("clear", PASSWORD))).toMatchObject({
      step: "login",
      detail: expect.stringContaining("only over TLS with a verified certificate"),
    });
  });

  it("says clearly why a login failed", async () => {
    expect(await attempt(await server("scram", "wrong"))).toMatchObject({
      kind: "refused",
      sqlstate: "28P01",
    });
    expect(await attempt(await server("digest", "wrong"))).toMatchObject({
      kind: "refused",
      sqlstate: "28P01",
    });
    expect(await attempt(await server("scram", undefined))).toMatchObject({
      detail: "the server asks for a password (SCRAM-SHA-256) and the config gives none for this resource",
    });
    expect(await attempt(await server("rejected", PASSWORD))).toMatchObject({
      kind: "refused",
      sqlstate: "28000",
    });
    expect(await attempt({ ...(await server("trusted", undefined)), database: "absent" })).toMatchObject({
      sqlstate: "3D000",
    });
    expect(
      await attempt({
        ...(await server("scram", PASSWORD)),
        credential: new Credential({ kind: "file", path: "/nowhere" }),
      }),
    ).toEqual({
      step: "credential",
      detail: "file /nowhere cannot be read (ENOENT)",
    });
  });

  it("does not go on without TLS when the server has none", async () => {
    await expect(attempt(await server("trusted", undefined, { tls: "require" }))).resolves.toEqual({
      step: "tls",
      detail: "the server does not offer TLS",
    });
  });

  it("takes up a changed password without a restart", async () => {
    const path = (await secret(PASSWORD)).path;
    const to = { ...(await server("scram", PASSWORD)), credential: new Credential({ kind: "file", path }) };
    expect(await attempt(to)).toBe("scram f");
    await postgres.withClient("postgres", (client) => client.query("ALTER ROLE scram PASSWORD 'rotated'"));
    expect(await attempt(to)).toMatchObject({ sqlstate: "28P01" });
    await writeFile(path, "rotated");
    expect(await attempt(to)).toBe("scram f");
    await postgres.withClient("postgres", (client) =>
      client.query(`ALTER ROLE scram PASSWORD '${PASSWORD}'`),
    );
  });

  describe("over TLS", () => {
    beforeAll(() => useCertificate("authority", "IP:127.0.0.1,DNS:localhost"));

    it("verifies the certificate and the address", async () => {
      const tls = { tls: "verify-full", ca: await ca("authority") } as const;
      expect(await attempt(await server("tls_only", PASSWORD, tls))).toBe("tls_only t");
      const address = { kind: "tcp", host: "localhost", port: postgres.port } as const;
      expect(await attempt(await server("tls_only", PASSWORD, { ...tls, address }))).toBe("tls_only t");
      expect(await attempt(await server("clear", PASSWORD, tls))).toBe("clear t");
    });

    it("refuses a certificate by a stranger", async () => {
      for (const tls of ["verify-full", "verify-ca"] as const) {
        expect(
          await attempt(await server("tls_only", PASSWORD, { tls, ca: await ca("stranger") })),
        ).toMatchObject({
          step: "tls",
          detail: expect.stringContaining("not issued by a trusted authority"),
        });
        expect(await attempt(await server("tls_only", PASSWORD, { tls }))).toMatchObject({ step: "tls" });
      }
    });

    it("takes any certificate with require, and then never a clear-text password", async () => {
      expect(await attempt(await server("tls_only", PASSWORD, { tls: "require" }))).toBe("tls_only t");
      expect(await attempt(await server("clear", PASSWORD, { tls: "require" }))).toMatchObject({
        step: "login",
      });
    });

    it("binds SCRAM to the channel, so that a man in the middle fails even with require", async () => {
      const middle = await ManInTheMiddle.start(directory, postgres.port, "rsa-sha256");
      const address = { kind: "tcp", host: "127.0.0.1", port: middle.port } as const;
      expect(await attempt(await server("tls_only", PASSWORD, { tls: "require", address }))).toMatchObject({
        step: "login",
        kind: "refused",
        detail: "SCRAM channel binding check failed",
      });
      // The man in the middle works but for the binding: what has none gets through him.
      expect(await attempt(await server("trusted", undefined, { tls: "require", address }))).toBe(
        "trusted t",
      );
      await middle.stop();
    });

    it.each(["ec-sha384", "ed25519"] as const)("logs in with a certificate signed with %s", async (kind) => {
      const authority = kind === "ed25519" ? "authority-ed" : "authority-ec";
      await useCertificate(authority, "IP:127.0.0.1", kind);
      expect(
        await attempt(await server("tls_only", PASSWORD, { tls: "verify-full", ca: await ca(authority) })),
      ).toBe("tls_only t");
    });

    it("refuses a certificate for another name with verify-full, not with verify-ca", async () => {
      await useCertificate("authority", "DNS:db.example.com,IP:10.1.2.3");
      expect(
        await attempt(await server("tls_only", PASSWORD, { tls: "verify-full", ca: await ca("authority") })),
      ).toMatchObject({
        step: "tls",
        detail: expect.stringContaining("certificate is for another name"),
      });
      expect(
        await attempt(await server("tls_only", PASSWORD, { tls: "verify-ca", ca: await ca("authority") })),
      ).toBe("tls_only t");
    });
  });
});

import { PassThrough } from "node:stream";
import { describe, expect, it } from "vitest";
import { findOwner, parsePort } from "../../../connectors/cli/local-port.ts";
import { databaseUrl, postgresEnvironment } from "../../../connectors/cli/native-client.ts";
import { newOutcome } from "../../../connectors/cli/outcome.ts";
import { refusePostgresStartup } from "../../../connectors/cli/postgres-refusal.ts";

const SSL_REQUEST = Buffer.from("0000000804d2162f", "hex");
const GSSENC_REQUEST = Buffer.from("0000000804d21630", "hex");
const CANCEL_REQUEST = Buffer.from("0000001004d2162e0000000100000002", "hex");

function startup(): Buffer {
  const body = Buffer.from("\0\x03\0\0user\0x\0database\0y\0\0");
  const length = Buffer.alloc(4);
  length.writeUInt32BE(4 + body.length);
  return Buffer.concat([length, body]);
}

const failure = {
  exit: 6,
  message: "connector office-1 is offline",
  hint: "start it",
  code: "connector_offline",
};

/** What a client that sends these pieces is answered. */
async function refused(pieces: readonly Buffer[], end = false): Promise<Buffer> {
  const client = new PassThrough();
  const answer = new PassThrough();
  const parts: Buffer[] = [];
  answer.on("data", (part: Buffer) => parts.push(part));
  const done = refusePostgresStartup(client, answer, failure);
  for (const piece of pieces) {
    client.write(piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
  if (end) client.end();
  await done;
  await new Promise((resolve) => setImmediate(resolve));
  expect(answer.writableEnded).toBe(true);
  return Buffer.concat(parts);
}

describe("a PostgreSQL client that gets no session", () => {
  const FIELDS = "SFATAL\0VFATAL\0C08006\0Mconnector office-1 is offline\0Hstart it\0\0";

  it("is told so with a FATAL ErrorResponse, after its encryption requests were answered", async () => {
    const answer = await refused([Buffer.concat([GSSENC_REQUEST, SSL_REQUEST, startup()])]);
    expect(answer.subarray(0, 3).toString()).toBe("NNE");
    expect(answer.readUInt32BE(3)).toBe(answer.length - 3);
    expect(answer.subarray(7).toString()).toBe(FIELDS);
  });

  it("byte by byte as well", async () => {
    const all = Buffer.concat([SSL_REQUEST, startup()]);
    const answer = await refused([...all].map((byte) => Buffer.from([byte])));
    expect(answer.subarray(0, 2).toString()).toBe("NE");
    expect(answer.subarray(6).toString()).toBe(FIELDS);
  });

  it("gets no answer to a CancelRequest, a length out of bounds, or when it has gone", async () => {
    expect(await refused([CANCEL_REQUEST])).toHaveLength(0);
    expect(await refused([Buffer.from("ffffffff00030000", "hex")])).toHaveLength(0);
    expect(await refused([Buffer.from("0000000700030000", "hex")])).toHaveLength(0);
    expect(await refused([startup().subarray(0, 10)], true)).toHaveLength(0);
  });
});

describe("the exit code of a wrapped client", () => {
  const outcome = () => {
    let err = "";
    const made = newOutcome({ out: () => undefined, err: (text) => (err += text) });
    return { ...made, said: () => err };
  };

  it("passes through where nothing else happened, and is 0 whenever it is 0", () => {
    const { notice, exitCode } = outcome();
    expect([0, 1, 2, 3, 42, 143].map(exitCode)).toEqual([0, 1, 2, 3, 42, 143]);
    notice({ type: "refused", code: "denied_by_policy", message: "no" });
    expect(exitCode(0)).toBe(0);
  });

  it("is that of the last thing that was refused, for a client that failed", () => {
    const { notice, exitCode } = outcome();
    notice({ type: "refused", code: "denied_by_policy", message: "no" });
    expect(exitCode(1)).toBe(3);
    notice({ type: "refused", code: "approval_required", message: "held", approval: "apr_1" });
    expect(exitCode(1)).toBe(4);
    // A code that this version does not know, or that says no more than "failed", changes nothing.
    notice({ type: "refused", code: "from_the_future", message: "?" });
    notice({ type: "refused", code: "protocol_violation", message: "?" });
    expect(exitCode(1)).toBe(4);
    notice({ type: "ended", code: "upstream_lost", message: "the database has gone" });
    expect(exitCode(1)).toBe(6);
  });

  it("is its own while it waits for an approval: waiting is no failure", () => {
    const { notice, exitCode, said } = outcome();
    notice({ type: "held", approval: "apr_1", url: "javascript:\u001b[2J", waiting: true });
    expect(exitCode(1)).toBe(1);
    // oxlint-disable-next-line no-control-regex -- none may be left
    expect(said()).not.toMatch(/\u001b/);
  });

  it("says a failure once, however often a client tries", () => {
    const { failed, exitCode, said } = outcome();
    failed(failure);
    failed(failure);
    expect(said()).toBe("sally: connector office-1 is offline\n  hint: start it\n");
    expect(exitCode(2)).toBe(6);
  });
});

describe("the owner of a loopback connection", () => {
  const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1
   1: 0100007F:C350 0100007F:1538 01 00000000:00000000 00:00000000 00000000  1001        0 2 1
   2: 0100007F:1538 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 3 1
   3: 0100007F:C351 0100007F:1538 06 00000000:00000000 00:00000000 00000000     0        0 0 1
   4: 0200007F:C352 0100007F:1538 01 00000000:00000000 00:00000000 00000000  1000        0 4 1
   5: 0000000000000000FFFF00000100007F:C353 0000000000000000FFFF00000100007F:1538 01 0:0 00:0 0  1002 0 5 1`;

  it("is read from the client's own row", () => {
    expect(findOwner(table, 0xc350, 0x1538)).toBe(1001);
    expect(findOwner(table, 0xc353, 0x1538)).toBe(1002);
  });

  it("is unknown for rows that are closing, of another address, or absent", () => {
    expect(findOwner(table, 0xc351, 0x1538)).toBeUndefined();
    expect(findOwner(table, 0xc352, 0x1538)).toBeUndefined();
    expect(findOwner(table, 0xc354, 0x1538)).toBeUndefined();
    expect(findOwner("", 1, 2)).toBeUndefined();
  });
});

describe("addresses for clients", () => {
  it("are encoded, and name no other host beside a socket's directory", () => {
    const where = { port: 5432, database: "a/b?c", user: "e@x:y" };
    expect(databaseUrl({ ...where, host: "/tmp/s d" })).toBe(
      "postgresql://e%40x%3Ay@/a%2Fb%3Fc?host=%2Ftmp%2Fs%20d&port=5432&sslmode=disable",
    );
    expect(databaseUrl({ ...where, host: "127.0.0.1" })).toBe(
      "postgresql://e%40x%3Ay@127.0.0.1:5432/a%2Fb%3Fc?sslmode=disable",
    );
  });

  it("leave the rest of the environment alone", () => {
    const environment = postgresEnvironment(
      { PATH: "/bin", PGOPTIONS: "-c x=1", PGPASSWORD: "p", SALLY_TOKEN: "t", SALLY_TOKEN_FILE: "f" },
      { host: "/d", port: 5432, database: "db", user: "u" },
    );
    expect(environment).toMatchObject({
      PATH: "/bin",
      PGOPTIONS: "-c x=1",
      SALLY_TOKEN_FILE: "f",
      PGUSER: "u",
    });
    expect(Object.keys(environment)).not.toContain("PGPASSWORD");
    expect(Object.keys(environment)).not.toContain("SALLY_TOKEN");
  });

  it("have ports that are ports", () => {
    expect(parsePort(undefined)).toEqual({ ok: true, value: 0 });
    expect(parsePort("5433")).toEqual({ ok: true, value: 5433 });
    for (const text of ["", "-1", "65536", "1e3", "5433 ", "0x10"]) expect(parsePort(text).ok).toBe(false);
  });
});

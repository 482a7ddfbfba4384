import { describe, expect, it } from "vitest";
import { newPostgresState, step } from "../../../wire/postgres/machine.ts";
import { decodeStartup, parseOptions } from "../../../wire/postgres/startup.ts";
import { fields, i32, letters, split, startup } from "./support/messages.ts";
import { KEY, SERVER_PARAMETERS, Scripted } from "./support/scripted.ts";

const SSL = Buffer.concat([i32(8), i32(80877103)]);
const GSS = Buffer.concat([i32(8), i32(80877104)]);

/** Parameters of `open`, or the refusal's code and message. */
function open(pairs: readonly (readonly [string, string])[], version?: number): unknown {
  const session = new Scripted().client(startup(pairs, version));
  const opened = session.of("open")[0];
  if (opened !== undefined) return opened.parameters;
  const end = session.of("end")[0];
  return `${end?.refusal?.code}: ${end?.refusal?.message}`;
}

describe("startup", () => {
  it("answers SSLRequest and GSSENCRequest with N once each, in any order, before the startup message", () => {
    for (const order of [
      [SSL, GSS],
      [GSS, SSL],
    ]) {
      const session = new Scripted();
      for (const request of order) session.client(request);
      expect(session.bytes("toClient").toString()).toBe("NN");
      session.client(startup([["user", "bob"]]));
      expect(session.of("open")).toHaveLength(1);
    }
    const twice = new Scripted().client(SSL).client(SSL);
    expect(twice.reports()).toEqual(["end protocol_violation"]);
  });

  it("gives out user and database, which defaults to the user", () => {
    const session = new Scripted().client(
      startup([
        ["user", "bob"],
        ["database", ""],
      ]),
    );
    expect(session.of("open")[0]).toMatchObject({
      user: "bob",
      database: "bob",
      parameters: { client_encoding: "UTF8" },
    });
  });

  it("takes the settings of the allow-list in any case and spells them as PostgreSQL does", () => {
    expect(
      open([
        ["user", "u"],
        ["datestyle", "ISO, MDY"],
        ["TIMEZONE", "UTC"],
        ["application_name", "psql"],
        ["Client_Encoding", "'utf-8'"],
        ["extra_float_digits", "2"],
        ["options", "-c geqo=off --search_path=a\\ b -cstatement_timeout=5s --lock-timeout=1"],
      ]),
    ).toEqual({
      geqo: "off",
      search_path: "a b",
      statement_timeout: "5s",
      lock_timeout: "1",
      DateStyle: "ISO, MDY",
      TimeZone: "UTC",
      application_name: "psql",
      client_encoding: "UTF8",
      extra_float_digits: "2",
    });
  });

  it("lets a named parameter win over the same in options, as the server does", () => {
    expect(
      open([
        ["user", "u"],
        ["search_path", "b"],
        ["options", "-c search_path=a"],
      ]),
    ).toMatchObject({ search_path: "b" });
  });

  it.each([
    [[["role", "postgres"]], "role"],
    [[["session_authorization", "x"]], "session_authorization"],
    [[["Standard_Conforming_Strings", "off"]], "Standard_Conforming_Strings"],
    [[["replication", "database"]], "replication"],
    [[["Replication", "false"]], "replication"],
    [[["Database", "x"]], "Database"],
    [[["client_encoding", "SQL_ASCII"]], "SQL_ASCII"],
    [[["client_encoding", "SJIS"]], "SJIS"],
    [[["options", "-c client_encoding=latin1"]], "latin1"],
    [[["options", "-c standard_conforming_strings=off"]], "standard_conforming_strings"],
    [[["options", "--standard-conforming-strings=off"]], "standard_conforming_strings"],
    [[["options", "-c\tstandard_conforming_st\\rings=off"]], "standard_conforming_strings"],
    [[["options", "-c session_preload_libraries=x"]], "session_preload_libraries"],
    [[["options", "-d 5"]], "-d"],
    [[["options", "-c"]], "-c"],
    [[["options", "-c geqo"]], "-c"],
    [[["options", "-c =x"]], "-c"],
    [[["options", "plain"]], "plain"],
  ])("refuses %j and names what it refuses", (pairs, named) => {
    const session = new Scripted().client(startup([["user", "u"], ...(pairs as [string, string][])]));
    expect(session.reports()).toEqual(["end setting_not_allowed"]);
    const [error] = split(session.bytes("toClient"));
    expect(error?.type).toBe("E");
    expect(fields(error?.body ?? Buffer.alloc(0))).toMatchObject({ S: "FATAL", V: "FATAL", C: "42501" });
    expect(fields(error?.body ?? Buffer.alloc(0))["M"]).toContain(named);
  });

  it("refuses an empty user, a parameter given twice, and text that is not UTF-8", () => {
    expect(open([["user", ""]])).toMatch(/no PostgreSQL user name/);
    expect(
      open([
        ["user", "a"],
        ["user", "b"],
      ]),
    ).toMatch(/"user" is given twice/);
    expect(
      open([
        ["user", "a"],
        ["geqo", "on"],
        ["GEQO", "off"],
      ]),
    ).toMatch(/"GEQO" is given twice/);
    const bad = startup([["user", "aaaa"]]);
    bad[14] = 0xff;
    const session = new Scripted().client(bad);
    expect(session.reports()).toEqual(["end protocol_violation"]);
  });

  it("refuses hostile packets without waiting for what they announce", () => {
    for (const length of [0, 1, 2, 3, 4, 7, 10_001, 0x7fffffff, -0x80000000, -1]) {
      const session = new Scripted().client(i32(length));
      expect(session.reports(), String(length)).toEqual(["end protocol_violation"]);
      expect(letters(session.bytes("toClient"))).toBe("E");
    }
    for (const [name, packet] of Object.entries({
      "no terminator": Buffer.concat([i32(13), i32(3 << 16), Buffer.from("user\0")]),
      "trailing garbage": Buffer.concat([i32(22), i32(3 << 16), Buffer.from("user\0u\0\0xyz\0\0\0\0")]),
      "unterminated value": Buffer.concat([i32(14), i32(3 << 16), Buffer.from("user\0u")]),
      "nothing at all": Buffer.concat([i32(8), i32(3 << 16)]),
      "long SSLRequest": Buffer.concat([i32(9), i32(80877103), Buffer.from("x")]),
      "protocol 2.0": Buffer.concat([i32(9), i32(2 << 16), Buffer.from([0])]),
      "protocol 4.0": Buffer.concat([i32(9), i32(4 << 16), Buffer.from([0])]),
      TLS: Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01]),
      "cancel without key": Buffer.concat([i32(12), i32(80877102), i32(1)]),
      "cancel with a long key": Buffer.concat([i32(12 + 257), i32(80877102), i32(1), Buffer.alloc(257)]),
    })) {
      const session = new Scripted().client(packet);
      expect(session.of("end"), name).toHaveLength(1);
      expect(session.of("end")[0]?.refusal, name).toBeDefined();
      expect(session.of("open"), name).toHaveLength(0);
      expect(session.of("cancelRequest"), name).toHaveLength(0);
    }
  });

  it("ends the connection on a second StartupMessage, in every state", () => {
    const second = startup([["user", "postgres"]]);
    const before = new Scripted().client(startup([["user", "bob"]]), second);
    expect(before.reports()).toEqual(["end protocol_violation"]);
    expect(before.of("open")).toHaveLength(0);
    const opening = new Scripted().client(startup([["user", "bob"]])).client(second);
    expect(opening.reports()).toEqual(["end protocol_violation"]);
    const ready = new Scripted().open().client(second);
    expect(ready.reports()).toEqual(["end protocol_violation"]);
    expect(ready.sent("toServer")).toBe("X");
    expect(fields(split(ready.bytes("toClient"))[0]?.body ?? Buffer.alloc(0))).toMatchObject({
      S: "FATAL",
      C: "08P01",
    });
  });

  it("gives a 3.0 client a key of 4 bytes and a 3.2 client one of 32", () => {
    for (const [version, length] of [
      [3 << 16, 4],
      [(3 << 16) | 1, 4],
      [(3 << 16) | 2, 32],
    ] as const) {
      const session = new Scripted().client(startup([["user", "bob"]], version));
      session.input({ kind: "opened", parameters: SERVER_PARAMETERS, processId: 77, secretKey: KEY });
      expect(session.sent("toClient")).toBe("RSSSKZ");
      const key = split(session.bytes("toClient"))[4]?.body;
      expect(key?.readUInt32BE(0)).toBe(77);
      expect([...(key?.subarray(4) ?? [])]).toEqual([...KEY.subarray(0, length)]);
      expect(session.reports()).toEqual(["ready I"]);
    }
  });

  it("negotiates a newer minor version and _pq_. options down", () => {
    const newer = new Scripted().client(
      startup(
        [
          ["user", "bob"],
          ["_pq_.compression", "1"],
        ],
        (3 << 16) | 9999,
      ),
    );
    const [negotiate] = split(newer.bytes("toClient"));
    expect(negotiate?.type).toBe("v");
    expect(negotiate?.body.toString("latin1")).toBe("\0\x03\0\x02\0\0\0\x01_pq_.compression\0");
    expect(newer.of("open")).toHaveLength(1);
    const older = new Scripted().client(
      startup([
        ["user", "bob"],
        ["_pq_.x", "1"],
      ]),
    );
    expect(split(older.bytes("toClient"))[0]?.body.toString("latin1")).toBe("\0\x03\0\0\0\0\0\x01_pq_.x\0");
  });

  it("passes a CancelRequest on, with keys of both protocol versions, and ends the connection in silence", () => {
    for (const length of [4, 32, 256]) {
      const key = Buffer.alloc(length, 7);
      const session = new Scripted().client(Buffer.concat([i32(12 + length), i32(80877102), i32(-2), key]));
      expect(session.of("cancelRequest")).toEqual([
        { kind: "cancelRequest", processId: 0xfffffffe, secretKey: new Uint8Array(key) },
      ]);
      expect(session.reports()).toEqual(["end"]);
      expect(session.bytes("toClient")).toHaveLength(0);
    }
  });

  it("takes the startup byte by byte as it takes it whole", () => {
    const bytes = Buffer.concat([
      SSL,
      startup([
        ["user", "bob"],
        ["options", "-c geqo=on"],
      ]),
    ]);
    const state = newPostgresState();
    const effects = [...bytes].flatMap((byte) =>
      step(state, { kind: "clientBytes", bytes: Uint8Array.of(byte) }),
    );
    expect(effects).toEqual(new Scripted().client(bytes).effects);
  });

  it("does not open a session on a server whose settings change what statements mean", () => {
    for (const parameters of [
      [["client_encoding", "UTF8"]],
      [
        ["client_encoding", "LATIN1"],
        ["standard_conforming_strings", "on"],
      ],
      [
        ["client_encoding", "UTF8"],
        ["standard_conforming_strings", "off"],
      ],
    ] as [string, string][][]) {
      const session = new Scripted().client(startup([["user", "bob"]]));
      session.forget().input({ kind: "opened", parameters, processId: 1, secretKey: KEY });
      expect(session.reports()).toEqual(["end upstream_login_failed"]);
      expect(session.sent("toClient")).toBe("E");
    }
  });

  it("tells the client why the upstream could not be opened", () => {
    const session = new Scripted().client(startup([["user", "bob"]])).forget();
    session.input({
      kind: "openFailed",
      refusal: { code: "connector_offline", message: "no connector", hint: "start one" },
    });
    expect(fields(split(session.bytes("toClient"))[0]?.body ?? Buffer.alloc(0))).toMatchObject({
      S: "FATAL",
      C: "08006",
      M: "no connector",
      H: "start one",
    });
    expect(session.reports()).toEqual(["end connector_offline"]);
  });
});

describe("options", () => {
  it("splits at white space and takes a backslash literally for the next character", () => {
    expect(parseOptions(String.raw` -c  a=b\ c\\d   --x-y=1	-cz=`)).toEqual({
      ok: true,
      value: [
        ["a", String.raw`b c\d`],
        ["x_y", "1"],
        ["z", ""],
      ],
    });
  });

  it("never throws on garbage", () => {
    for (const text of ["\\", "-", "--", "-c ", "--=", "-c -c", "-c\0"])
      expect(() => parseOptions(text)).not.toThrow();
    expect(() => decodeStartup(new Uint8Array(8))).not.toThrow();
  });
});

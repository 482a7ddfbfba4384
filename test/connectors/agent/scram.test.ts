import { describe, expect, it } from "vitest";
import { saslPrep } from "../../../connectors/agent/postgres/saslprep.ts";
import {
  MAX_ITERATIONS,
  clientFinal,
  clientFirst,
  saltedPassword,
  serverFirst,
  verifyServerFinal,
} from "../../../connectors/agent/postgres/scram.ts";

const NONCE = "rOprNGfwEbeRWgbNEkqO";
/** RFC 7677 section 3: user "user", password "pencil". */
const SERVER_FIRST = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_FINAL =
  "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

async function exchange() {
  const first = clientFirst(NONCE, { kind: "none" }, "user");
  const server = serverFirst(first, SERVER_FIRST);
  if (!server.ok) throw new Error(server.error);
  const salted = await saltedPassword("pencil", server.value.salt, server.value.iterations);
  return { first, final: clientFinal(first, server.value, salted) };
}

describe("SCRAM-SHA-256", () => {
  it("makes the messages of RFC 7677", async () => {
    const { first, final } = await exchange();
    expect(first.message).toBe("n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    expect(final.message).toBe(CLIENT_FINAL);
    expect(verifyServerFinal(final.serverSignature, SERVER_FINAL)).toEqual({ ok: true, value: undefined });
  });

  it("refuses a server that does not know the password", async () => {
    const { final } = await exchange();
    for (const message of ["v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", "v=AAAA", "v=A"]) {
      expect(verifyServerFinal(final.serverSignature, message)).toEqual({
        ok: false,
        error: "server_signature_wrong",
      });
    }
    expect(verifyServerFinal(final.serverSignature, "e=invalid-proof")).toEqual({
      ok: false,
      error: "server_reported_error",
    });
    expect(verifyServerFinal(final.serverSignature, "")).toEqual({
      ok: false,
      error: "server_message_malformed",
    });
    expect(verifyServerFinal(final.serverSignature, `v=${"A".repeat(100_000)}`)).toEqual({
      ok: false,
      error: "server_message_malformed",
    });
  });

  it("states its channel binding in the first and proves it in the last message", () => {
    const data = new Uint8Array([1, 2, 3]);
    const first = clientFirst(NONCE, { kind: "tls-server-end-point", data });
    expect(first.message).toBe(`p=tls-server-end-point,,n=,r=${NONCE}`);
    const server = serverFirst(first, SERVER_FIRST);
    if (!server.ok) throw new Error(server.error);
    const binding = /^c=([^,]+)/.exec(clientFinal(first, server.value, new Uint8Array(32)).message)?.[1];
    expect(Buffer.from(binding ?? "", "base64")).toEqual(
      Buffer.concat([Buffer.from("p=tls-server-end-point,,"), data]),
    );
    expect(clientFirst(NONCE, { kind: "possible" }).message).toBe(`y,,n=,r=${NONCE}`);
  });

  it.each([
    ["server_nonce_wrong", SERVER_FIRST.replace("r=r", "r=s")],
    ["server_nonce_wrong", `r=${NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`],
    ["iterations_out_of_bounds", SERVER_FIRST.replace("4096", String(MAX_ITERATIONS + 1))],
    ["iterations_out_of_bounds", SERVER_FIRST.replace("4096", "2147483648")],
    ["server_message_malformed", SERVER_FIRST.replace("4096", "99999999999")],
    ["server_message_malformed", SERVER_FIRST.replace("4096", "0")],
    ["server_message_malformed", SERVER_FIRST.replace("4096", "-1")],
    ["server_message_malformed", SERVER_FIRST.replace("4096", "4096x")],
    ["server_message_malformed", SERVER_FIRST.replace("W22Z", "W2=Z")],
    ["server_message_malformed", SERVER_FIRST.replace("gQ==", "gQ=")],
    ["server_message_malformed", SERVER_FIRST.replace(",i=4096", "")],
    ["server_message_malformed", `x${SERVER_FIRST}`],
    ["server_message_malformed", ""],
    ["server_message_malformed", SERVER_FIRST + ",".repeat(5000)],
    ["server_extension_unknown", `m=must,${SERVER_FIRST}`],
  ])("answers %s to a hostile first message (%#)", (error, message) => {
    expect(serverFirst(clientFirst(NONCE, { kind: "none" }), message)).toEqual({ ok: false, error });
  });
});

describe("SASLprep", () => {
  it.each([
    // RFC 4013 section 3.
    ["I\u00adX", "IX"],
    ["user", "user"],
    ["USER", "USER"],
    ["\u00aa", "a"],
    ["\u2168", "IX"],
    // Prohibited: used as it is, as PostgreSQL does.
    ["\u0007", "\u0007"],
    ["\u0627\u0031", "\u0627\u0031"],
    ["a\u0627b", "a\u0627b"],
    ["a\u00a0b", "a b"],
    ["\u0627\u0628", "\u0627\u0628"],
    ["\u00ad", "\u00ad"],
    ["", ""],
  ])("prepares %j", (password, prepared) => {
    expect(saslPrep(password)).toBe(prepared);
  });
});

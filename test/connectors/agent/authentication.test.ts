import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import {
  type AuthenticationContext,
  type AuthenticationState,
  authenticate,
} from "../../../connectors/agent/postgres/authentication.ts";
import { saltedPassword } from "../../../connectors/agent/postgres/scram.ts";
import { writeUint32 } from "../../../wire/bytes.ts";

const START: AuthenticationState = { phase: "start" };
const CONTEXT: AuthenticationContext = {
  user: "sallyport",
  password: "pencil",
  trusted: false,
  endPoint: undefined,
  nonce: new Uint8Array(18).fill(7),
  derive: saltedPassword,
};

function message(kind: number, rest: string | Uint8Array = ""): Buffer {
  const head = Buffer.alloc(4);
  writeUint32(head, 0, kind);
  return Buffer.concat([head, typeof rest === "string" ? Buffer.from(rest, "latin1") : rest]);
}

const SCRAM_ONLY = message(10, "SCRAM-SHA-256\0\0");
const BOTH = message(10, "SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");

async function states(
  context: AuthenticationContext = CONTEXT,
): Promise<Record<string, AuthenticationState>> {
  const first = await authenticate(START, context, SCRAM_ONLY);
  if (!first.ok) throw new Error(first.error);
  const nonce = Buffer.from(context.nonce).toString("base64");
  const final = await authenticate(first.value.state, context, message(11, `r=${nonce}x,s=c2FsdA==,i=1`));
  if (!final.ok) throw new Error(final.error);
  return {
    start: START,
    password: { phase: "password" },
    scramFirst: first.value.state,
    scramFinal: final.value.state,
    scramVerified: { phase: "scramVerified" },
    done: { phase: "done" },
  };
}

describe("authentication", () => {
  it("answers an MD5 challenge as PostgreSQL docs 54.2 say", async () => {
    const salt = Uint8Array.of(1, 2, 3, 4);
    const step = await authenticate(START, CONTEXT, message(5, salt));
    const inner = createHash("md5").update("pencilsallyport").digest("hex");
    const outer = createHash("md5").update(inner).update(salt).digest("hex");
    expect(step.ok && Buffer.from(step.value.reply ?? []).toString("latin1")).toBe(
      `p\0\0\0\x28md5${outer}\0`,
    );
  });

  it("takes AuthenticationOk only where nothing is left to prove", async () => {
    const all = await states();
    const verdicts: Record<string, boolean> = {};
    for (const [name, state] of Object.entries(all))
      verdicts[name] = (await authenticate(state, CONTEXT, message(0))).ok;
    expect(verdicts).toEqual({
      start: true,
      password: true,
      scramFirst: false,
      scramFinal: false,
      scramVerified: true,
      done: false,
    });
  });

  it("refuses every challenge in every state but its own", async () => {
    const all = await states();
    const challenges: Record<string, Buffer> = {
      cleartext: message(3),
      md5: message(5, "salt"),
      sasl: SCRAM_ONLY,
      saslContinue: message(11, "r=x,s=c2FsdA==,i=1"),
      saslFinal: message(12, "v=AAAA"),
    };
    const taken: string[] = [];
    const errors: string[] = [];
    for (const [state, value] of Object.entries(all)) {
      for (const [name, body] of Object.entries(challenges)) {
        const step = await authenticate(value, { ...CONTEXT, trusted: true }, body);
        if (step.ok) taken.push(`${state}:${name}`);
        else errors.push(step.error);
      }
    }
    expect(taken.toSorted()).toEqual(["start:cleartext", "start:md5", "start:sasl"]);
    expect(errors.join("")).not.toContain("pencil");
  });

  it("sends the password in clear only over a trusted connection", async () => {
    expect((await authenticate(START, CONTEXT, message(3))).ok).toBe(false);
    const step = await authenticate(START, { ...CONTEXT, trusted: true }, message(3));
    expect(step.ok && Buffer.from(step.value.reply ?? []).toString("latin1")).toBe("p\0\0\0\x0bpencil\0");
  });

  it.each([
    [
      "PLUS where the server offers it and the certificate allows it",
      BOTH,
      Uint8Array.of(1),
      "SCRAM-SHA-256-PLUS\0",
      "p=tls-server-end-point,,",
    ],
    [
      "that it could bind where the server offers no PLUS",
      SCRAM_ONLY,
      Uint8Array.of(1),
      "SCRAM-SHA-256\0",
      "y,,",
    ],
    ["no binding without TLS", BOTH, undefined, "SCRAM-SHA-256\0", "n,,"],
  ])("chooses %s", async (_what, offer, endPoint, mechanism, header) => {
    const step = await authenticate(START, { ...CONTEXT, endPoint }, offer);
    const reply = step.ok ? Buffer.from(step.value.reply ?? []).toString("latin1") : "";
    expect(reply.slice(5)).toMatch(new RegExp(`^${mechanism}....${header.replaceAll(".", "\\.")}n=,r=`, "s"));
  });

  it.each([
    ["no body", Buffer.alloc(0)],
    ["half an integer", Buffer.alloc(3)],
    ["GSSAPI", message(7)],
    ["an unknown method", message(4_000_000_000)],
    ["a short MD5 salt", message(5, "abc")],
    ["a long MD5 salt", message(5, "abcde")],
    ["a SASL list without its end", message(10, "SCRAM-SHA-256\0")],
    ["a SASL list of nothing", message(10, "\0")],
    ["a mechanism that is not ours", message(10, "OAUTHBEARER\0\0")],
    ["PLUS only, without TLS", message(10, "SCRAM-SHA-256-PLUS\0\0")],
    ["trailing bytes after AuthenticationOk", message(0, "x")],
  ])("refuses %s", async (_what, body) => {
    expect((await authenticate(START, CONTEXT, body)).ok).toBe(false);
  });

  it.each([message(3), message(5, "salt"), SCRAM_ONLY])(
    "says that no password is configured (%#)",
    async (body) => {
      const step = await authenticate(START, { ...CONTEXT, password: undefined, trusted: true }, body);
      expect(step).toMatchObject({
        ok: false,
        error: expect.stringContaining("the config gives none for this resource"),
      });
    },
  );
});

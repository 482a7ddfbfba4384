import { createHmac } from "node:crypto";
import { describe, expect, it } from "vitest";
import { readSlackPress, verifySlackRequest } from "../../../worker/identity/slack.ts";

const SECRET = "8f742231b10e8888abcd99yyyzzz85a5";

describe("Slack's signature", () => {
  // The example of Slack's own documentation.
  const timestamp = "1531420618";
  const body =
    "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
  const signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
  const now = Number(timestamp) * 1000;
  const verify = (more: object = {}, at = now, text = body, secret = SECRET) =>
    verifySlackRequest({ signature, timestamp, ...more }, text, secret, at);

  it("is taken within five minutes, and named so that it can be remembered until then", async () => {
    expect(await verify({}, now + 299_000)).toEqual({
      ok: true,
      value: { signature: signature.slice(3), forgetAt: now + 301_000 },
    });
  });

  it.each([
    ["old", {}, 301_000],
    ["from the future", {}, -301_000],
  ])("is refused when it is %s", async (_, more, later) => {
    expect(await verify(more, now + later)).toEqual({ ok: false, error: "too_old" });
  });

  it.each([
    { signature: undefined },
    { signature: signature.replace("v0", "v1") },
    { signature: signature.toUpperCase() },
    { timestamp: undefined },
    { timestamp: `${timestamp}.0` },
    { timestamp: "NaN" },
  ])("is refused when it is malformed: %j", async (more) => {
    expect(await verify(more)).toEqual({ ok: false, error: "malformed" });
  });

  it("is refused over another body, time or secret", async () => {
    const refused = { ok: false, error: "signature" };
    expect(await verify({}, now, `${body}&x=1`)).toEqual(refused);
    expect(await verify({ timestamp: String(Number(timestamp) + 1) })).toEqual(refused);
    expect(await verify({}, now, body, "another")).toEqual(refused);
    const empty = createHmac("sha256", "").update(`v0:${timestamp}:${body}`).digest("hex");
    expect(await verify({ signature: `v0=${empty}` })).toEqual(refused);
  });
});

describe("a button", () => {
  const press = (payload: unknown): ReturnType<typeof readSlackPress> =>
    readSlackPress(new URLSearchParams({ payload: JSON.stringify(payload) }).toString());
  const good = {
    type: "block_actions",
    user: { id: "U1" },
    actions: [{ action_id: "sallyport_approve", value: '{"approval":"apr_1","hash":"h"}' }],
  };

  it("says who, what and which", () => {
    expect(press(good)).toEqual({
      ok: true,
      value: { user: "U1", verdict: "approve", approval: "apr_1", hash: "h" },
    });
  });

  it.each([
    { ...good, type: "view_submission" },
    { ...good, actions: [] },
    { ...good, actions: [...good.actions, ...good.actions] },
    { ...good, actions: [{ action_id: "other_approve", value: "{}" }] },
    { ...good, actions: [{ action_id: "sallyport_deny", value: "apr_1" }] },
    { ...good, user: {} },
    null,
  ])("of another form is none: %j", (payload) => {
    expect(press(payload).ok).toBe(false);
  });
});

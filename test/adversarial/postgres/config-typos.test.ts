/** Configuration with mistakes in it: nothing of it is applied, and each mistake is named where it stands. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { callApi } from "../../../scripts/lib/gateway-api.ts";
import { type Stack, sharedStack } from "../../support/stack.ts";

let stack: Stack;
let directory: string;
let applied: { version: number; files: Record<string, string> };

beforeAll(async () => {
  stack = sharedStack();
  directory = await mkdtemp(join(tmpdir(), "sallyport-typos-"));
  const token = await stack.sessionToken("reviewer-a");
  applied = (await callApi(stack.gateway, "GET", "/v1/config", { token })) as typeof applied;
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const lineOf = (text: string, needle: string): number =>
  text.slice(0, text.indexOf(needle)).split("\n").length;

it.each([
  [
    "an unknown key",
    "sallyport.yaml",
    "protocol: postgres",
    "protocl: postgres",
    /unknown key "protocl".*did you mean "protocol"/,
  ],
  [
    "an unknown protocol",
    "sallyport.yaml",
    "protocol: postgres",
    "protocol: postgress",
    /postgress.*postgres/,
  ],
  ["an unknown mask", "sallyport.yaml", "card_number: last4", "card_number: lst4", /lst4.*last4/],
  [
    "an unknown algorithm",
    "sallyport.yaml",
    "algorithms: RS256",
    "algorithms: HS256",
    /HS256.*(RS256|EdDSA)/,
  ],
  [
    "an unknown action",
    "policies.cedar",
    'Action::"postgres:delete"',
    'Action::"postgres:delte"',
    /postgres:delte/,
  ],
  ["an unknown fact", "policies.cedar", "!context.hasWhere", "!context.hasWher", /hasWher/],
  ["a broken policy", "policies.cedar", "permit (", "permitt (", /permitt/],
])(
  "%s: file, line and what is allowed, by apply and by dry run",
  async (_what, file, right, wrong, message) => {
    const original = applied.files[file] ?? "";
    expect(original).toContain(right);
    const text = original.replace(right, wrong);
    for (const [name, content] of Object.entries({ ...applied.files, [file]: text })) {
      await writeFile(join(directory, name), content);
    }
    const line = lineOf(text, wrong);
    for (const options of [["--dry-run"], []]) {
      const { code, stderr } = await stack.sally("reviewer-a", ["apply", "-f", directory, ...options]);
      expect(stderr).toMatch(message);
      expect(stderr).toContain(`${file}:${line}:`);
      expect(code).toBe(2);
    }
    const token = await stack.sessionToken("reviewer-a");
    expect(await callApi(stack.gateway, "GET", "/v1/config", { token })).toEqual(applied);
  },
);

it("a good configuration by somebody who may not apply it changes nothing either", async () => {
  for (const [name, content] of Object.entries(applied.files))
    await writeFile(join(directory, name), content);
  const { code, stderr } = await stack.sally("engineer", ["apply", "-f", directory]);
  expect(code, stderr).toBe(3);
  const token = await stack.sessionToken("reviewer-a");
  expect(await callApi(stack.gateway, "GET", "/v1/config", { token })).toEqual(applied);
});

/** The policy guide's examples, checked as a reader would who copies them. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parseConfig } from "../../../worker/config/parse.ts";
import { createPolicyEngine } from "../../../worker/policy/cedar/engine.ts";
import { KNOWN_ACTIONS } from "../../../worker/policy/cedar/schema.ts";
import { testCedar } from "../../support/cedar.ts";

const guide = readFileSync(new URL("../../../docs/policy.md", import.meta.url), "utf8");
const blocks = (language: string): string[] =>
  [...guide.matchAll(new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\``, "gm"))].map(([, text = ""]) => text);

describe("docs/policy.md", () => {
  it("has examples that can be applied together", () => {
    const cedar = blocks("cedar");
    const yaml = blocks("yaml");
    expect([cedar.length, yaml.length]).toEqual([4, 3]);
    const files = Object.fromEntries([
      ...cedar.map((text, index) => [`${index}.cedar`, text]),
      ...yaml.map((text, index) => [`${index}.yaml`, text]),
    ]);
    const result = parseConfig(files, createPolicyEngine(testCedar()));
    expect(result.ok ? [] : result.error).toEqual([]);
  });

  it("names every action", () => {
    const named = (action: string): boolean => {
      const [protocol = "", verb = ""] = action.split(":");
      return guide.includes(`\`${action}\``) || (protocol === "postgres" && guide.includes(`\`${verb}\``));
    };
    expect([...KNOWN_ACTIONS].filter((action) => !named(action))).toEqual([]);
  });
});

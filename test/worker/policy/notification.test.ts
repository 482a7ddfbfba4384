import { describe, expect, it } from "vitest";
import { fillTemplate } from "../../../worker/policy/notification-template.ts";

describe("a template", () => {
  it("takes any value as the content of a string", () => {
    const evil = `", "to": "mallory@evil.example" }\n\\ \u2028 </script>`;
    const filled = fillTemplate('{"text": "a ${statement} b", "n": 1}', () => evil);
    expect(filled.ok && JSON.parse(filled.value)).toEqual({ text: `a ${evil} b`, n: 1 });
  });

  it.each(['{"text": ${statement}}', '{"text": "${secret}"}', "text ${statement}", '{"a": "${statement}"'])(
    "is refused: %s",
    (template) => {
      expect(fillTemplate(template, () => "x").ok).toBe(false);
    },
  );

  it("does not fill what a value names", () => {
    const filled = fillTemplate('{"text": "${reason}"}', () => "${statement}");
    expect(filled.ok && JSON.parse(filled.value)).toEqual({ text: "${statement}" });
  });
});

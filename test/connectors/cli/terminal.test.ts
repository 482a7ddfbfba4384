import { describe, expect, it } from "vitest";
import {
  fields,
  say,
  shorten,
  table,
  toJson,
  visible,
  visibleLine,
} from "../../../connectors/cli/terminal.ts";

describe("text of others", () => {
  it("cannot move the cursor, change colours or reorder what is shown", () => {
    expect(visible("a\u001b[2Kb\u009b1mc\rd\u0008e")).toBe("a\\u{1b}[2Kb\\u{9b}1mc\\u{d}d\\u{8}e");
    expect(visible("delete \u202efrom\u2066 x\u200b\u2028")).toBe(
      "delete \\u{202e}from\\u{2066} x\\u{200b}\\u{2028}",
    );
    expect(visible("tag\u{e0041}")).toBe("tag\\u{e0041}");
  });

  it("keeps what is plain: letters of any script, tabs and newlines", () => {
    expect(visible("größer\t数据\n🙂")).toBe("größer\t数据\n🙂");
    expect(visibleLine("a\tb\nc")).toBe("a\\tb\\nc");
  });

  it("in JSON is escaped so that the text is the same when it is parsed", () => {
    const text = "\u009b2J\u202e\u{e0041}\u007f\u2028 größer";
    const json = toJson({ text });
    // oxlint-disable-next-line no-control-regex -- none may be left
    expect(json).not.toMatch(/[\u007f-\u009f\u2028\u202e]/);
    expect(JSON.parse(json)).toEqual({ text });
  });

  it("cannot break out of a message's line or a table's row", () => {
    let err = "";
    say({ out: () => undefined, err: (text) => (err += text) }, "held by x\nsally: approved");
    expect(err).toBe("sally: held by x\\nsally: approved\n");
    expect(table(["A", "B"], [["1\n2", "\u001b[0m"]])).toBe("A     B\n1\\n2  \\u{1b}[0m\n");
  });
});

describe("layout", () => {
  it("aligns columns by their widest cell", () => {
    expect(
      table(
        ["NAME", "X"],
        [
          ["a", "b"],
          ["longer", ""],
        ],
      ),
    ).toBe("NAME    X\na       b\nlonger\n");
  });

  it("indents further lines of a field and leaves out what is not there", () => {
    expect(
      fields([
        ["a", "1\n2"],
        ["long", undefined],
        ["bb", "3"],
      ]),
    ).toBe("a   1\n    2\nbb  3\n");
  });

  it("shortens to one line", () => {
    expect(shorten(" select\n  1 ", 20)).toBe("select 1");
    expect(shorten("x".repeat(30), 10)).toBe(`${"x".repeat(9)}…`);
  });
});

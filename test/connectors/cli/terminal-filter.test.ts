import { describe, expect, it } from "vitest";
import { filterTerminal, newTerminalFilter } from "../../../connectors/cli/terminal-filter.ts";

const filtered = (text: string): string => filterTerminal(newTerminalFilter(), text);

describe("a recorded terminal shown again", () => {
  it.each([
    "plain text, Übung, 漢\r\n\ttab\b",
    "\u001b[1;31mred\u001b[0m",
    "\u001b[2J\u001b[H\u001b[10;20Hthere\u001b[K",
    "\u001b[?1049h\u001b[?25lfull screen\u001b[?1049l\u001b[?25h",
    "\u001b7\u001b8\u001bM\u001b(0lqk\u001b(B",
  ])("keeps %j", (text) => {
    expect(filtered(text)).toBe(text);
  });

  it.each([
    ["a title", "a\u001b]0;pwned\u0007b"],
    ["the clipboard", "a\u001b]52;c;cm0gLXJmIC8=\u0007b"],
    ["a link", "a\u001b]8;;file:///etc\u001b\\b"],
    ["a device control string", 'a\u001bP$q"p\u001b\\b'],
    ["an application command", "a\u001b_Gi=1;AAAA\u001b\\b"],
    ["a question about the device", "a\u001b[c\u001b[>c\u001b[=c\u001b[6n\u001b[?6n\u001b[5nb"],
    ["a question about the window", "a\u001b[21t\u001b[18tb"],
    ["mouse, paste and focus reports", "a\u001b[?1000h\u001b[?1006h\u001b[?2004h\u001b[?1004hb"],
    ["keyboard modes", "a\u001b[>1u\u001b[=1;1u\u001b=\u001b>b"],
    ["insert mode and key lock", "a\u001b[4h\u001b[2hb"],
    ["8-bit controls", "a\u009b6n\u009d0;x\u009cb".replace("6n", "").replace("0;x", "")],
    ["a reset of the terminal", "a\u001bcb"],
    ["a soft reset and cursor styles", "a\u001b[!p\u001b[3 qb"],
    ["answerback and NUL", "a\u0005\u0000b"],
    ["printing", "a\u001b[5i\u001b[?4ib"],
  ])("drops %s", (_, text) => {
    expect(filtered(text)).toBe("ab");
  });

  it("is the same however the sequences are cut", () => {
    const text = "a\u001b[1;31mb\u001b]0;x\u001b\\c\u001b[6nd\u001b(0q\u001b(Be";
    const whole = filtered(text);
    for (let cut = 1; cut < text.length; cut++) {
      const filter = newTerminalFilter();
      expect(filterTerminal(filter, text.slice(0, cut)) + filterTerminal(filter, text.slice(cut))).toBe(
        whole,
      );
    }
  });

  it("does not wait for the end of an endless sequence", () => {
    expect(filtered(`\u001b[${"1;".repeat(100)}mx`).endsWith("x")).toBe(true);
    expect(filtered("\u001b]0;never ends")).toBe("");
    expect(filtered("\u001b]0;ended\u0018by CAN")).toBe("by CAN");
  });
});

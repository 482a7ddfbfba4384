/**
 * Makes recorded terminal output safe to show in somebody else's terminal. What it may do is print, colour and
 * move; it may not ask the terminal anything (the answer would be typed into the shell of whoever watches), set
 * titles, clipboards, palettes or keys, or leave modes behind.
 *
 * Kept: text, C0 controls that move, and CSI sequences (ECMA-48 section 5.4) of a list. Dropped: OSC, DCS, APC,
 * PM, SOS to their end, 8-bit controls, and everything else.
 */

/** Final bytes of CSI sequences that print, erase, move, scroll, insert, delete or colour. */
const CSI_FINAL = new Set([..."@ABCDEFGHIJKLMPSXZ`abdefgjkmrsu"]);
/** DEC private modes that change how text shows and that RESET puts back. */
const PRIVATE_MODES = new Set(["1", "3", "5", "6", "7", "12", "25", "47", "1047", "1048", "1049"]);

/** Undoes whatever a recording may have left: colours, margins, modes, the alternate screen, the cursor. */
export const RESET = "\u001b[0m\u001b[?1;3;5;6;12;47;1047;1049l\u001b[?7;25h\u001b[r\u001b(B";

export type TerminalFilter = {
  state: "text" | "escape" | "csi" | "string" | "string_escape" | "charset";
  held: string;
};

export function newTerminalFilter(): TerminalFilter {
  return { state: "text", held: "" };
}

/** The part of `text` that may be shown. Sequences may be cut between two calls. */
export function filterTerminal(filter: TerminalFilter, text: string): string {
  let shown = "";
  for (const character of text) shown += take(filter, character);
  return shown;
}

/** Longest sequence worth waiting for. */
const LONGEST = 64;

function take(filter: TerminalFilter, character: string): string {
  const code = character.codePointAt(0) ?? 0;
  // CAN and SUB end any sequence.
  if (filter.state !== "text" && (code === 0x18 || code === 0x1a)) return reset(filter);
  switch (filter.state) {
    case "text":
      if (code === 0x1b) filter.state = "escape";
      else if (code >= 0x80 && code < 0xa0) return "";
      else if (code >= 0x20 || (code >= 0x07 && code <= 0x0d)) return code === 0x7f ? "" : character;
      return "";
    case "escape":
      if (character === "[") {
        filter.state = "csi";
        filter.held = "\u001b[";
      } else if ("]PX^_".includes(character)) filter.state = "string";
      else if ("()*+".includes(character)) {
        filter.state = "charset";
        filter.held = `\u001b${character}`;
      } else {
        reset(filter);
        // Save and restore the cursor, index, next line, reverse index.
        return "78DEM".includes(character) ? `\u001b${character}` : "";
      }
      return "";
    case "charset": {
      const sequence = filter.held + character;
      reset(filter);
      // ASCII and line drawing.
      return "B0".includes(character) ? sequence : "";
    }
    case "csi":
      if (code >= 0x20 && code < 0x40 && filter.held.length < LONGEST) {
        filter.held += character;
        return "";
      }
      return endCsi(filter, character);
    case "string":
      if (code === 0x07) reset(filter);
      else if (code === 0x1b) filter.state = "string_escape";
      return "";
    case "string_escape":
      if (character === "\\") reset(filter);
      else filter.state = code === 0x1b ? "string_escape" : "string";
      return "";
  }
}

function endCsi(filter: TerminalFilter, final: string): string {
  const parameters = filter.held.slice(2);
  reset(filter);
  const mode = /^\?([0-9;]+)$/.exec(parameters)?.[1];
  if ((final === "h" || final === "l") && mode !== undefined) {
    const modes = mode.split(";").filter((each) => PRIVATE_MODES.has(each));
    return modes.length === 0 ? "" : `\u001b[?${modes.join(";")}${final}`;
  }
  return CSI_FINAL.has(final) && /^[0-9;:]*$/.test(parameters) ? `\u001b[${parameters}${final}` : "";
}

function reset(filter: TerminalFilter): string {
  filter.state = "text";
  filter.held = "";
  return "";
}

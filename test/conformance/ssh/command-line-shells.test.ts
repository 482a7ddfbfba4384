/**
 * What the parser calls plain is handed to every real shell of this machine as sshd would (`$SHELL -c line`):
 * each must run exactly one program, with exactly the words that policy was told.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { canonicalText, parseCommandLine } from "../../../wire/ssh/command-line.ts";

const SHELLS = ["dash", "bash", "ksh", "mksh", "zsh", "fish", "tcsh"].filter(
  (shell) => spawnSync("sh", ["-c", `command -v ${shell}`]).status === 0,
);

let directory: string;
let program: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "plain-"));
  program = join(directory, "show");
  // Prints each word with its length, so that no separator can be forged by a word.
  writeFileSync(
    program,
    '#!/bin/sh\nLC_ALL=C\nfor word in "$@"; do printf "%s:%s\\n" "${#word}" "$word"; done\n',
  );
  chmodSync(program, 0o755);
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

function runs(shell: string, line: string): string {
  // No start-up files: what they do is the server's administrator's business, not the line's.
  const flags =
    shell === "zsh" ? ["-f"] : shell === "fish" ? ["--no-config"] : shell === "tcsh" ? ["-f"] : [];
  return execFileSync(shell, [...flags, "-c", line], {
    cwd: directory,
    env: { PATH: "/usr/bin:/bin", HOME: directory, LC_ALL: "C.UTF-8" },
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
}

function expected(words: readonly string[]): string {
  return words.map((word) => `${new TextEncoder().encode(word).length}:${word}\n`).join("");
}

// Pieces that are quoted, escaped or bare, in every mixture; what is not plain is skipped.
const piece = fc.oneof(
  { weight: 4, arbitrary: fc.string({ unit: fc.constantFrom(..."abz09_@%+=:,./-"), maxLength: 4 }) },
  {
    weight: 3,
    arbitrary: fc
      .string({ unit: fc.constantFrom(...'ab $`";|&<>*?[]{}()~#!%^=\\n\\x'), maxLength: 5 })
      .map((text) => `'${text}'`),
  },
  {
    weight: 3,
    arbitrary: fc
      .string({ unit: fc.constantFrom(..."ab ';|&<>*?[]{}()~#%^="), maxLength: 5 })
      .map((text) => `"${text}"`),
  },
  {
    weight: 3,
    arbitrary: fc
      .constantFrom(..." !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~n")
      .map((character) => `\\${character}`),
  },
  { weight: 1, arbitrary: fc.constantFrom("''", '""', "'é'", '"漢"') },
);
const line = fc
  .array(
    fc.array(piece, { minLength: 1, maxLength: 4 }).map((pieces) => pieces.join("")),
    { minLength: 1, maxLength: 6 },
  )
  .map((words) => words.join(" "));

describe.each(SHELLS)("%s reads a plain line as policy does", (shell) => {
  it("word for word", () => {
    let ran = 0;
    fc.assert(
      fc.property(line, (text) => {
        const whole = `${program} ${text}`;
        const parsed = parseCommandLine(new TextEncoder().encode(whole));
        fc.pre(parsed.plain);
        ran += 1;
        expect(runs(shell, whole)).toBe(expected(parsed.argv.slice(1)));
        expect(runs(shell, canonicalText(parsed.argv))).toBe(expected(parsed.argv.slice(1)));
      }),
      { numRuns: Number(process.env["PLAIN_RUNS"] ?? 60), maxSkipsPerRun: 200 },
    );
    expect(ran).toBeGreaterThan(20);
  }, 300_000);
});

describe("what one shell reads as a second command is never plain", () => {
  // Found by reading the shells' manuals; each really runs `touch` in the shell it names, which proves the attack.
  const smuggled: readonly (readonly [string, string])[] = [
    ["fish", "echo 'a\\' '; touch pwned #'"],
    ["tcsh", "echo `touch pwned`"],
    ["zsh", "echo =(touch pwned)"],
    ["bash", "echo <(touch pwned)"],
    ["bash", "A=b touch pwned"],
    ["zsh", "repeat 1 touch pwned"],
    ["fish", "echo (touch pwned)"],
    ["fish", "echo a\\x20; touch pwned"],
    ["ksh", "echo ${ touch pwned; }"],
    ["dash", "echo a\ntouch pwned"],
  ];
  it.each(smuggled.filter(([shell]) => SHELLS.includes(shell)))("%s: %j", (shell, text) => {
    spawnSync(shell, [...(shell === "zsh" || shell === "tcsh" ? ["-f"] : []), "-c", text], {
      cwd: directory,
      env: { PATH: "/usr/bin:/bin", HOME: directory },
    });
    expect(spawnSync("rm", [join(directory, "pwned")]).status).toBe(0);
    expect(parseCommandLine(new TextEncoder().encode(text)).plain).toBe(false);
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LIMITS } from "../../../../wire/limits.ts";
import { analyse } from "../../../../worker/policy/sql/analyse.ts";
import { Offsets, type ParsedStatement } from "../../../../worker/policy/sql/parser.ts";
import { loadSqlParser, newSqlParser } from "../../../support/sql-parser.ts";

const parser = await loadSqlParser();

function parse(sql: string): ParsedStatement[] {
  const parsed = parser.parse(sql);
  if (!parsed.ok) throw new Error(parsed.error.message);
  return parsed.value;
}

function refused(sql: string): string {
  const parsed = parser.parse(sql);
  return parsed.ok ? "parsed" : parsed.error.code;
}

describe("statements of a text", () => {
  it("gives none for a text without one", () => {
    for (const sql of ["", " ", ";", ";;\n;", "-- only a comment", "/* a; b */;"])
      expect(parse(sql)).toEqual([]);
  });

  it("cuts each statement out without its semicolon", () => {
    const sql = "select 1; /* b */ delete from t ;\n;drop table x -- end";
    expect(parse(sql).map(({ start, end, text }) => [sql.slice(start, end), text.trim()])).toEqual([
      ["select 1", "select 1"],
      [expect.stringContaining("delete from t"), expect.stringContaining("delete from t")],
      [expect.stringContaining("drop table x"), expect.stringContaining("drop table x")],
    ]);
  });

  it("counts offsets in UTF-16 units where the tree counts bytes", () => {
    const sql = "select 'é', '日本', '😀';delete from \"tàb😀le\";select 1";
    const statements = parse(sql);
    expect(statements.map((statement) => statement.text)).toEqual([
      "select 'é', '日本', '😀'",
      'delete from "tàb😀le"',
      "select 1",
    ]);
    for (const { start, startByte } of statements) {
      expect(new TextEncoder().encode(sql.slice(0, start)).length).toBe(startByte);
    }
  });

  it("leaves nothing but space, comments and semicolons between the statements", () => {
    const part = fc.constantFrom(
      "select 1",
      "select 'é;😀'",
      "delete from t",
      "",
      " ",
      "/* ; é */",
      "-- ;\n",
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 12 }), (parts) => {
        const sql = parts.join(";");
        let rest = "";
        let at = 0;
        for (const { start, end } of parse(sql)) {
          rest += sql.slice(at, start);
          at = end;
        }
        rest += sql.slice(at);
        expect(rest).not.toMatch(/select|delete/u);
      }),
    );
  });

  it("says where a syntax error is", () => {
    const parsed = parser.parse("select 1,\n  'é' frm t");
    expect(parsed).toMatchObject({
      ok: false,
      error: {
        code: "statement_not_parsed",
        message: 'syntax error at or near "t"',
        hint: "line 2, column 11",
      },
    });
  });

  it("does not quote a giant back in its error", () => {
    const parsed = parser.parse(`select ${"/* ".repeat(50_000)}`);
    expect(parsed.ok ? 0 : parsed.error.message.length).toBeLessThan(300);
  });

  it("folds and cuts identifiers as the server does", () => {
    const long = "X".repeat(100);
    expect(JSON.stringify(parse(`prepare ${long} as select 1`)[0]?.node)).toContain(`"${"x".repeat(63)}"`);
    expect(JSON.stringify(parse(`prepare ${"é".repeat(40)} as select 1`)[0]?.node)).toContain(
      `"${"é".repeat(31)}"`,
    );
  });
});

describe("texts that are refused before the parser", () => {
  it("refuses a NUL, wherever it stands", () => {
    for (const sql of ["\0", "select 1\0; drop table a", "select 'a\0b'", "/* \0 */ select 1"]) {
      expect(refused(sql)).toBe("statement_not_parsed");
    }
  });

  it("refuses lone surrogates", () => {
    for (const sql of ["select '\ud800'", "select '\udc00x'", "select '\udc00\ud800'"]) {
      expect(refused(sql)).toBe("statement_not_parsed");
    }
  });

  it("refuses a statement of 300 KB, counted in bytes", () => {
    expect(refused(`select '${"x".repeat(300_000)}'`)).toBe("statement_over_limit");
    expect(refused(`select '${"é".repeat(LIMITS.postgres.sql / 2)}'`)).toBe("statement_over_limit");
    expect(refused(`select '${"x".repeat(LIMITS.postgres.sql - 9)}'`)).toBe("parsed");
  });

  it("refuses more statements than one message may hold", () => {
    expect(refused("select 1;".repeat(LIMITS.sql.statements))).toBe("parsed");
    expect(refused("select 1;".repeat(LIMITS.sql.statements + 1))).toBe("statement_over_limit");
  });

  it("takes 100 KB of /* in no time, open or closed, in code or in a comment", () => {
    const opened = "/*".repeat(50_000);
    for (const sql of [
      opened,
      `${opened}${"*/".repeat(50_000)} select 1`,
      `/* ${opened}`,
      `select 1 ${opened}`,
    ]) {
      const start = performance.now();
      expect(refused(sql)).toMatch(/^statement_/u);
      expect(performance.now() - start).toBeLessThan(1_000);
    }
  });

  it.each([
    ["plus signs", "+"],
    ["minus signs kept from being a comment", "+-"],
    ["operator characters", "@#"],
    ["stars", "*"],
  ])("refuses 100 KB of %s, also after a string that looks like their end", (_name, unit) => {
    const run = unit.repeat(100_000 / unit.length);
    for (const sql of [
      `select 1 ${run} 2`,
      `select 'a''' ${run} 2`,
      `select E'\\'' ${run} '`,
      `select $a$ ' $a$ ${run} '`,
      `select "'" ${run} '`,
      `select /* ' */ ${run} '`,
      `select U&'\\' ${run} '`,
    ]) {
      const start = performance.now();
      expect(refused(sql)).toMatch(/^statement_/u);
      expect(performance.now() - start).toBeLessThan(1_000);
    }
  });

  it("takes ordinary SQL with rules of dashes, banners, and long strings of operator characters", () => {
    const banner = `-- ${"-".repeat(100)}\n/*${"*".repeat(100)}\n * text\n ${"*".repeat(100)}*/\n`;
    expect(refused(`${banner.repeat(300)} select 1`)).toBe("parsed");
    expect(refused(`select '${"=".repeat(10_000)}', $$${"-".repeat(5_000)}$$, "${"#".repeat(50)}"`)).toBe(
      "parsed",
    );
    expect(refused(`${"-".repeat(5_000)}\nselect 1`)).toBe("parsed");
  });

  it("refuses deep brackets, however their closing ones are hidden", () => {
    const deep = LIMITS.sql.depth + 1;
    for (const open of ["(", "[", "( /*)*/", "( ')' || ", '( ")" || ', "( $$)$$ || "]) {
      expect(refused(`select ${open.repeat(deep)}`)).toBe("statement_over_limit");
    }
    expect(refused(`select ${"(".repeat(deep - 1)}1${")".repeat(deep - 1)}`)).toBe("parsed");
    expect(refused(`select '${"(".repeat(5_000)}'`)).toBe("parsed");
  });
});

describe("what could break the parser", () => {
  /** Deep or large in ways that brackets do not show. */
  const breakers = [
    `select 1${"::int".repeat(40_000)}`,
    `select ${"1+".repeat(100_000)}1`,
    `select 1${" union select 1".repeat(15_000)}`,
    `select 1${",1".repeat(130_000)}`,
    `select 1 from a${" join a on true".repeat(15_000)}`,
    `select ${"- ".repeat(100_000)}1`,
    `select ${"not ".repeat(60_000)}true`,
  ];

  it("refuses each, and parses the next statement as if nothing had been", async () => {
    const own = await newSqlParser();
    for (const sql of breakers) {
      const broken = own.parse(sql);
      expect(broken.ok ? "parsed" : broken.error.code).toMatch(/^statement_/u);
      expect(own.parse("select * from t")).toEqual(parser.parse("select * from t"));
    }
  });

  it("refuses what it can parse but not follow", () => {
    for (const [parts, sql] of [
      [LIMITS.sql.depth + 5, (n: number) => `select ${"1+".repeat(n)}1`],
      [LIMITS.sql.depth + 5, (n: number) => `select 1${" union select 1".repeat(n)}`],
      [LIMITS.sql.depth + 5, (n: number) => `select * from a${" join a on true".repeat(n)}`],
    ] as const) {
      const [statement] = parse(sql(parts));
      const analysed = statement && analyse(statement);
      expect(analysed?.ok === false && analysed.error.code).toBe("statement_over_limit");
    }
  });

  it("survives 30 broken instances in a row", async () => {
    const own = await newSqlParser();
    for (let i = 0; i < 30; i++) expect(own.parse(breakers[0] ?? "").ok).toBe(false);
    expect(own.parse("select 1").ok).toBe(true);
  });
});

describe("arbitrary text", () => {
  /** What is wrong with the answer, if anything. */
  const fault = (sql: string): string => {
    const parsed = parser.parse(sql);
    if (!parsed.ok) return parsed.error.code.startsWith("statement_") ? "" : parsed.error.code;
    for (const statement of parsed.value) {
      const analysed = analyse(statement);
      if (analysed.ok && analysed.value.actions.length === 0) return "no action";
      if (!analysed.ok && analysed.error.message === "") return "no message";
    }
    return "";
  };
  it("never throws for any text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 200 }), (sql) => {
        expect(fault(sql)).toBe("");
      }),
      { numRuns: 2_000 },
    );
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 200 }), (sql) => {
        expect(fault(sql)).toBe("");
      }),
      { numRuns: 1_000 },
    );
  });

  it("never throws for text made of SQL's own parts", () => {
    const word = fc.constantFrom(
      ..."select from where insert into values update set delete with recursive as ( ) , ; . * = + - / $$ $a$ ' \" E' U&' -- /* */ \n 1 1.5 $1 a t null true and or not in exists case when then end union all join on using returning explain analyze prepare execute declare cursor for fetch copy to stdin merge matched table create drop alter grant role set default current of do call :: [ ]".split(
        " ",
      ),
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 40 }), (words) => {
        expect(fault(words.join(" "))).toBe("");
      }),
      { numRuns: 10_000 },
    );
  });
});

describe("Offsets", () => {
  it("maps every byte offset of any text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 50 }), (text) => {
        const offsets = new Offsets(text);
        const encoder = new TextEncoder();
        let index = 0;
        for (const character of text) {
          expect(offsets.index(encoder.encode(text.slice(0, index)).length)).toBe(index);
          index += character.length;
        }
        expect(offsets.index(encoder.encode(text).length + 5)).toBe(text.length);
        expect(offsets.index(0)).toBe(0);
      }),
    );
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { concat, displayUtf8, utf8 } from "../../../wire/bytes.ts";
import { JsonMasker, type JsonValue, readFields } from "../../../wire/http/json-masker.ts";
import { FieldPaths, parseFieldPattern } from "../../../wire/http/json-paths.ts";
import { LIMITS } from "../../../wire/limits.ts";

function paths(...patterns: string[]): FieldPaths {
  return new FieldPaths(
    patterns.map((text) => {
      const parsed = parseFieldPattern(text);
      if (!parsed.ok) throw new Error(parsed.error);
      return parsed.value;
    }),
  );
}

/** Masks with `"*"`, cut into pieces of `size` bytes. Undefined: it is not JSON. */
function mask(
  text: string | Uint8Array,
  patterns: string[],
  size = Number.POSITIVE_INFINITY,
): string | undefined {
  const bytes = typeof text === "string" ? utf8(text) : text;
  const masker = new JsonMasker({ paths: paths(...patterns), replace: () => '"*"' });
  const out: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += size) {
    const pushed = masker.push(bytes.subarray(at, at + size));
    if (!pushed.ok) return undefined;
    out.push(pushed.value);
  }
  const ended = masker.end();
  return ended.ok ? displayUtf8(concat([...out, ended.value])) : undefined;
}

describe("JsonMasker", () => {
  const cases: readonly (readonly [name: string, text: string, patterns: string[], expected: string])[] = [
    ["a key anywhere", '{"a":{"ssn":"1"},"ssn":"2"}', ["ssn"], '{"a":{"ssn":"*"},"ssn":"*"}'],
    ["a path from the top only", '{"ssn":"1","a":{"ssn":"2"}}', ["$.ssn"], '{"ssn":"*","a":{"ssn":"2"}}'],
    [
      "a path anywhere",
      '[{"x":{"c":{"ssn":"1"}}},{"ssn":"2"}]',
      ["c.ssn"],
      '[{"x":{"c":{"ssn":"*"}}},{"ssn":"2"}]',
    ],
    ["any one key", '{"a":{"b":1},"c":{"b":2},"b":3}', ["$.*.b"], '{"a":{"b":"*"},"c":{"b":"*"},"b":3}'],
    [
      "numbers, words and null",
      '{"s":1.5e3,"t":[{"s":true}],"u":{"s":null}}',
      ["s"],
      '{"s":"*","t":[{"s":"*"}],"u":{"s":"*"}}',
    ],
    ["a number at the end", '{"a":1,"s":12}', ["s"], '{"a":1,"s":"*"}'],
    ["every element of an array", '{"s":["a",1,["b"]]}', ["s"], '{"s":["*","*",["*"]]}'],
    ["an object as a whole", '{"s":{"x":"}","y":[{"z":"\\"}"}]},"t":1}', ["s"], '{"s":"*","t":1}'],
    [
      "an escaped key",
      '{"\\u0073sn":"1","s\\u0073\\u006E":"2"}',
      ["ssn"],
      '{"\\u0073sn":"*","s\\u0073\\u006E":"*"}',
    ],
    ["a key in another case", '{"SSN":"1","\\u017Fsn":"2"}', ["ssn"], '{"SSN":"*","\\u017Fsn":"*"}'],
    ["a key that is there twice", '{"ssn":"1","ssn":"2"}', ["ssn"], '{"ssn":"*","ssn":"*"}'],
    ["strings with escapes and quotes", '{"ssn":"a\\"b\\\\","x":"\\\\"}', ["ssn"], '{"ssn":"*","x":"\\\\"}'],
    ["arrays on the way", '{"items":[[{"price":1}]]}', ["$.items[].price"], '{"items":[[{"price":"*"}]]}'],
    ["several texts", '{"s":1}\n{"s":2}\n', ["s"], '{"s":"*"}\n{"s":"*"}\n'],
    ["white space as it is", ' { "s" :\t1 ,\n"t": 2 } ', ["s"], ' { "s" :\t"*" ,\n"t": 2 } '],
    ["a byte order mark", '\uFEFF{"s":1}', ["s"], '\uFEFF{"s":"*"}'],
    ["values that look like keys", '["ssn",{"a":"ssn"}]', ["ssn"], '["ssn",{"a":"ssn"}]'],
    ["a scalar at the top", '"ssn"', ["ssn"], '"ssn"'],
  ];
  for (const [name, text, patterns, expected] of cases) {
    it(`masks ${name}, whole, at every split and byte by byte`, () => {
      expect(mask(text, patterns)).toBe(expected);
      expect(mask(text, patterns, 1)).toBe(expected);
      const bytes = utf8(text);
      for (let split = 1; split < bytes.length; split++) {
        const masker = new JsonMasker({ paths: paths(...patterns), replace: () => '"*"' });
        const out = [bytes.subarray(0, split), bytes.subarray(split)].map((piece) => {
          const pushed = masker.push(piece);
          return pushed.ok ? pushed.value : utf8("?");
        });
        const ended = masker.end();
        expect(displayUtf8(concat([...out, ended.ok ? ended.value : utf8("?")]))).toBe(expected);
      }
    });
  }

  const malformed: readonly string[] = [
    '{"a":1,}',
    "[1,]",
    "{a:1}",
    "{'a':1}",
    '{"a":1 // x\n}',
    '{"a":1 /* x */}',
    '{"a" "b"}',
    '{"a":1 "b":2}',
    '{"a":}',
    "[1 2]",
    "{",
    "[",
    '"open',
    '{"a":"b}',
    "nul",
    "NaN",
    "Infinity",
    "+1",
    "01",
    "1.",
    ".5",
    "0x1",
    "tru",
    "}",
    "]",
    "{]",
    '{"a":1]',
    '{"a\nb":1}',
    '{"a":"\u0001"}',
    "{1:2}",
    '{"a":1}}',
    ",",
    ":",
  ];
  for (const text of malformed) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      expect(mask(text, ["ssn"])).toBeUndefined();
      expect(mask(text, ["ssn"], 1)).toBeUndefined();
    });
  }

  it("refuses a key that is not UTF-8 where it could be a name", () => {
    const overlong = Uint8Array.of(0x7b, 0x22, 0xc1, 0xb3, 0x73, 0x6e, 0x22, 0x3a, 0x31, 0x7d);
    expect(mask(overlong, ["ssn"])).toBeUndefined();
  });

  it("refuses nesting beyond the limit, inside what it replaces too", () => {
    const deep = LIMITS.http.jsonDepth + 1;
    expect(mask("[".repeat(deep) + "]".repeat(deep), ["ssn"])).toBeUndefined();
    expect(mask(`{"ssn":{"a":${"[".repeat(deep)}${"]".repeat(deep)}}}`, ["ssn"])).toBeUndefined();
  });

  it("replaces a value that is too long to be looked at as a whole", () => {
    const seen: JsonValue[] = [];
    const masker = new JsonMasker({
      paths: paths("s"),
      replace: (_pattern, value) => {
        seen.push(value);
        return "null";
      },
    });
    const long = `{"s":"${"x".repeat(LIMITS.http.jsonValue)}","t":1}`;
    const pushed = masker.push(utf8(long));
    expect(pushed.ok && displayUtf8(pushed.value)).toBe('{"s":null,"t":1}');
    expect(seen).toEqual([{ kind: "whole" }]);
  });

  it("holds next to nothing of a text of many megabytes", () => {
    const masker = new JsonMasker({ paths: paths("ssn"), replace: () => '"*"' });
    const piece = utf8(`{"id":1,"name":"somebody","ssn":"123-45-6789"},`.repeat(1_000));
    masker.push(utf8("["));
    const before = process.memoryUsage();
    for (let index = 0; index < 200; index++) expect(masker.push(piece).ok).toBe(true);
    const after = process.memoryUsage();
    expect(after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers).toBeLessThan(
      64 << 20,
    );
  });

  it("agrees with JSON.parse on what is JSON, and changes only what is named", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), fc.integer({ min: 1, max: 7 }), (value, size) => {
        const text = JSON.stringify(value);
        expect(mask(text, ["no such key"], size)).toBe(text);
        const masked = mask(text, ["a"], size);
        expect(masked).toBeDefined();
        expect(() => JSON.parse(masked ?? "") as unknown).not.toThrow();
      }),
      { numRuns: 300 },
    );
  });
});

describe("readFields", () => {
  it("finds values in order and says when a key is there twice", () => {
    const found = readFields(utf8('{"amount":1,"x":{"Amount":"2"}}'), paths("amount"));
    expect(found).toEqual({
      ok: true,
      value: {
        values: [
          [0, { kind: "number", text: "1" }],
          [0, { kind: "string", text: "2" }],
        ],
        duplicate: false,
      },
    });
    const twice = readFields(utf8('{"amount":1,"AMOUNT":2}'), paths("amount"));
    expect(twice.ok && twice.value.duplicate).toBe(true);
    const other = readFields(utf8('{"amount":1,"b":1,"b":2}'), paths("amount"));
    expect(other.ok && other.value.duplicate).toBe(false);
  });

  it("refuses more values than the limit", () => {
    const many = `[${'{"amount":1},'.repeat(LIMITS.http.bodyFields)}{"amount":1}]`;
    expect(readFields(utf8(many), paths("amount"))).toEqual({ ok: false, error: "over_limit" });
  });
});

describe("parseFieldPattern", () => {
  for (const text of ["", ".", "a..b", "*", "$.*", "a.", "$."])
    it(`refuses ${JSON.stringify(text)}`, () => expect(parseFieldPattern(text).ok).toBe(false));
});

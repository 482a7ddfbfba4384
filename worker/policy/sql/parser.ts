/**
 * PostgreSQL's own grammar (libpg-query, PostgreSQL 18) as a function from text to statements. Whatever it
 * cannot parse is refused. It assumes `standard_conforming_strings = on` and UTF-8, which the gateway holds
 * the session to (settings.ts).
 *
 * The wasm module is C code that meets hostile input. Everything but an answer or a plain syntax error is a
 * refusal, and that instance is never used again: the next parse gets a fresh one, made synchronously.
 */
import type { Node } from "@pgsql/types";
import { LIMITS } from "../../../wire/limits.ts";
import { refusal, type Refusal } from "../../../wire/refusals.ts";
import { err, ok, type Result } from "../../../wire/result.ts";
import { checkText } from "./lexical.ts";

export type { Node } from "@pgsql/types";

/** One statement of a text. Every `location` inside `node` is a UTF-8 byte offset into the whole text: see `Offsets`. */
export type ParsedStatement = {
  /** An object with one key, the node's tag: `{ SelectStmt: { ... } }`. */
  readonly node: Node;
  /** Offsets of the statement in the text, in UTF-16 units; the semicolon is outside. */
  readonly start: number;
  readonly end: number;
  /** The statement's own text, from `start` to `end`. */
  readonly text: string;
  /** UTF-8 byte offset of `start` in the text, what the node's locations count from zero with. */
  readonly startByte: number;
};

export type SqlParser = {
  /**
   * Parses a text of any number of statements; a text of comments and semicolons only gives none.
   * Refusals: statement_not_parsed, statement_over_limit. Never throws.
   */
  parse(sql: string): Result<ParsedStatement[], Refusal>;
};

/** What is used of libpg-query's Emscripten module. */
export type EmscriptenModule = {
  HEAPU8: Uint8Array<ArrayBuffer>;
  HEAPU32: Uint32Array<ArrayBuffer>;
  _malloc(bytes: number): number;
  _free(pointer: number): void;
  _wasm_parse_query_raw(text: number): number;
  _wasm_free_parse_result(result: number): void;
};

type WasmInstance = { readonly exports: Readonly<Record<string, unknown>> };

type ModuleArguments = {
  print(): void;
  printErr(): void;
  instantiateWasm(imports: unknown, receive: (instance: WasmInstance) => void): unknown;
};

/** The default export of `libpg-query/wasm/libpg-query.js`. */
export type EmscriptenFactory = (module: ModuleArguments) => Promise<unknown>;

/** Makes an instance of the wasm module: `(imports) => new WebAssembly.Instance(module, imports)`. */
export type Instantiate = (imports: unknown) => WasmInstance;

/** A heap only grows: the instance that met a giant statement is not kept for the small ones after it. */
const LARGEST_KEPT_HEAP = 48 << 20;

/** `__wasm_call_ctors` in the module's export section; the checksum in scripts/build/libpg-query.ts pins it. */
const CONSTRUCTORS = "A";

/**
 * @throws when the module is not libpg-query's: a fault of the build, met once at start.
 */
export async function createSqlParser(
  factory: EmscriptenFactory,
  instantiate: Instantiate,
): Promise<SqlParser> {
  let current: EmscriptenModule | undefined = newModule(factory, instantiate);

  const parseText = (sql: string, bytes: number): Result<RawStatement[], Refusal> => {
    try {
      const module = (current ??= newModule(factory, instantiate));
      const tree = parseRaw(module, sql, bytes);
      if (module.HEAPU8.byteLength > LARGEST_KEPT_HEAP) current = undefined;
      if (!tree.ok) return tree;
      return ok((JSON.parse(tree.value) as { readonly stmts?: RawStatement[] }).stmts ?? []);
    } catch {
      current = undefined;
      return err(refusal("statement_over_limit", "the statement is too deep or too large to be parsed"));
    }
  };

  return {
    parse(sql) {
      const checked = checkText(sql);
      if (!checked.ok) return checked;
      const { bytes } = checked.value;
      const raw = parseText(sql, bytes);
      return raw.ok ? statementsOf(raw.value, sql, bytes) : raw;
    },
  };
}

/**
 * The factory is async, but all that parsing needs happens before its first `await`: it fills the object that
 * it is given as soon as `receive` is called. Only its own call of the constructors would come later, so they
 * are called here, once.
 */
function newModule(factory: EmscriptenFactory, instantiate: Instantiate): EmscriptenModule {
  let constructors: (() => void) | undefined;
  const module: ModuleArguments & Partial<EmscriptenModule> = {
    print() {},
    printErr() {},
    instantiateWasm(imports, receive) {
      const instance = instantiate(imports);
      constructors = instance.exports[CONSTRUCTORS] as () => void;
      receive({ exports: { ...instance.exports, [CONSTRUCTORS]: () => {} } });
      return {};
    },
  };
  // Its rejection would be a fault that the check below has met already.
  factory(module).catch(() => {});
  if (constructors === undefined || !isReady(module)) throw new Error("libpg-query did not start");
  constructors();
  return module;
}

function isReady(module: Partial<EmscriptenModule>): module is EmscriptenModule {
  return (
    module.HEAPU8 !== undefined &&
    module.HEAPU32 !== undefined &&
    module._malloc !== undefined &&
    module._free !== undefined &&
    module._wasm_parse_query_raw !== undefined &&
    module._wasm_free_parse_result !== undefined
  );
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Runs the parser. The result is a PgQueryParseResult { char *parse_tree; char *stderr_buffer; PgQueryError
 * *error }, the error { char *message, *funcname, *filename; int lineno, cursorpos; char *context }.
 *
 * @throws whatever a trap in the wasm gives: the instance must not be used again.
 */
function parseRaw(module: EmscriptenModule, sql: string, bytes: number): Result<string, Refusal> {
  const text = module._malloc(bytes + 1);
  if (text === 0) throw new Error("out of memory");
  const { written } = encoder.encodeInto(sql, module.HEAPU8.subarray(text, text + bytes));
  if (written !== bytes) throw new Error("measured length is wrong");
  module.HEAPU8[text + bytes] = 0;
  const result = module._wasm_parse_query_raw(text);
  if (result === 0) throw new Error("out of memory");
  const word = (pointer: number): number => module.HEAPU32[pointer >>> 2] ?? 0;
  const error = word(result + 8);
  const answer: Result<string, Refusal> =
    error === 0
      ? ok(readString(module, word(result)))
      : err(
          refusal(
            "statement_not_parsed",
            shorten(readString(module, word(error))),
            position(sql, word(error + 16)),
          ),
        );
  module._free(text);
  module._wasm_free_parse_result(result);
  return answer;
}

function readString(module: EmscriptenModule, pointer: number): string {
  if (pointer === 0) throw new Error("null string");
  return decoder.decode(module.HEAPU8.subarray(pointer, module.HEAPU8.indexOf(0, pointer)));
}

/** A message quotes what it found, which may be all the rest of the text. */
function shorten(message: string): string {
  const characters = [...message.slice(0, 2 * MESSAGE_CHARACTERS)];
  return characters.length <= MESSAGE_CHARACTERS
    ? message
    : `${characters.slice(0, MESSAGE_CHARACTERS).join("")}…`;
}

const MESSAGE_CHARACTERS = 200;

function position(sql: string, cursor: number): { hint?: string; position?: number } {
  // PostgreSQL counts characters (code points) from 1.
  if (cursor <= 0) return {};
  let line = 1;
  let column = 1;
  let count = 1;
  for (const character of sql) {
    if (count++ >= cursor) break;
    if (character === "\n") {
      line++;
      column = 1;
    } else column++;
  }
  return { hint: `line ${line}, column ${column}`, position: cursor };
}

type RawStatement = {
  readonly stmt?: Node;
  readonly stmt_location?: number;
  readonly stmt_len?: number;
};

function statementsOf(
  raw: readonly RawStatement[],
  sql: string,
  bytes: number,
): Result<ParsedStatement[], Refusal> {
  if (raw.length > LIMITS.sql.statements) {
    return err(
      refusal("statement_over_limit", `more than ${LIMITS.sql.statements} statements in one message`),
    );
  }
  const offsets = new Offsets(sql, bytes);
  const statements: ParsedStatement[] = [];
  for (const { stmt, stmt_location: startByte = 0, stmt_len: length = 0 } of raw) {
    if (stmt === undefined) return err(refusal("statement_not_parsed", "the statement could not be read"));
    const start = offsets.index(startByte);
    const end = length === 0 ? sql.length : offsets.index(startByte + length);
    statements.push({ node: stmt, start, end, text: sql.slice(start, end), startByte });
  }
  return ok(statements);
}

/** Maps UTF-8 byte offsets, as in `location` fields, to UTF-16 offsets of the same text. Cheapest in increasing order. */
export class Offsets {
  readonly #text: string;
  readonly #ascii: boolean;
  #byte = 0;
  #index = 0;

  /** @param bytes length of `text` in UTF-8, when known: a text of as many bytes as units needs no counting. */
  constructor(text: string, bytes?: number) {
    this.#text = text;
    this.#ascii = bytes === text.length;
  }

  /** An offset past the end gives the end; one inside a character gives the offset after it. */
  index(byte: number): number {
    if (this.#ascii) return Math.min(byte, this.#text.length);
    if (byte < this.#byte) {
      this.#byte = 0;
      this.#index = 0;
    }
    while (this.#byte < byte && this.#index < this.#text.length) {
      const point = this.#text.codePointAt(this.#index) ?? 0;
      this.#byte += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
      this.#index += point < 0x10000 ? 1 : 2;
    }
    return this.#index;
  }
}

/**
 * The first packet of a connection (PostgreSQL docs 54.2.1, 54.7 StartupMessage), which has no type byte.
 *
 * Startup parameters are settings by another name, so they pass an allow-list: one that changes what bytes mean
 * (client_encoding, standard_conforming_strings), who acts (role, session_authorization) or what the server
 * loads would undo what is decided later.
 */
import { displayUtf8, fromUtf8, readUint32 } from "../bytes.ts";
import { type Refusal, refusal } from "../refusals.ts";
import { type Result, err, ok } from "../result.ts";
import { RequestCode } from "./messages.ts";

/** The newest protocol version spoken here: 3.2 (PostgreSQL 18). */
export const LATEST_PROTOCOL = (3 << 16) | 2;

/** Longest CancelRequest: MAX_CANCEL_KEY_LENGTH of the server is 256. */
const CANCEL_KEY_MAX = 256;

export type StartupRequest =
  | { readonly kind: "ssl" }
  | { readonly kind: "gssenc" }
  | { readonly kind: "cancel"; readonly processId: number; readonly secretKey: Uint8Array }
  | {
      readonly kind: "startup";
      /** Minor version to speak: 0, 1 or 2. */
      readonly minor: number;
      /** Set when the client has to be told (NegotiateProtocolVersion): names of `_pq_.` options, or a newer minor. */
      readonly negotiate: readonly string[] | undefined;
      readonly user: string;
      readonly database: string;
      readonly parameters: Readonly<Record<string, string>>;
    };

/** Settings a client may start with, as PostgreSQL spells them. */
const ALLOWED_SETTINGS = [
  "application_name",
  "client_encoding",
  "DateStyle",
  "default_transaction_isolation",
  "default_transaction_read_only",
  "extra_float_digits",
  "geqo",
  "idle_in_transaction_session_timeout",
  "IntervalStyle",
  "lock_timeout",
  "search_path",
  "statement_timeout",
  "TimeZone",
] as const;

const SPELLING = new Map<string, string>(ALLOWED_SETTINGS.map((name) => [name.toLowerCase(), name]));
const ALLOWED_TEXT = `allowed are ${ALLOWED_SETTINGS.join(", ")}, and the same by options=-c`;

/**
 * Reads one whole startup packet (with its length word; the caller has checked the length).
 * Errors are meant for the client, as FATAL.
 */
export function decodeStartup(packet: Uint8Array): Result<StartupRequest, Refusal> {
  const code = readUint32(packet, 4);
  switch (code) {
    case RequestCode.SSLRequest:
      return packet.length === 8 ? ok({ kind: "ssl" }) : malformed("an SSLRequest has eight bytes");
    case RequestCode.GSSENCRequest:
      return packet.length === 8 ? ok({ kind: "gssenc" }) : malformed("a GSSENCRequest has eight bytes");
    case RequestCode.CancelRequest:
      return decodeCancel(packet);
  }
  if (code >>> 16 !== 3) {
    return err(
      refusal("feature_not_supported", `unsupported frontend protocol ${code >>> 16}.${code & 0xffff}`, {
        hint: "the gateway speaks protocol 3.0 to 3.2, as every client since 2003 does",
      }),
    );
  }
  return decodeStartupMessage(packet, code & 0xffff);
}

function decodeCancel(packet: Uint8Array): Result<StartupRequest, Refusal> {
  const key = packet.length - 12;
  if (key < 4 || key > CANCEL_KEY_MAX) return malformed("a CancelRequest has a key of 4 to 256 bytes");
  return ok({ kind: "cancel", processId: readUint32(packet, 8), secretKey: packet.subarray(12) });
}

function decodeStartupMessage(packet: Uint8Array, clientMinor: number): Result<StartupRequest, Refusal> {
  const pairs = decodePairs(packet);
  if (!pairs.ok) return pairs;
  let user = "";
  let database = "";
  let options = "";
  const unrecognised: string[] = [];
  const settings: [string, string][] = [];
  const seen = new Set<string>();
  for (const [name, value] of pairs.value) {
    const lower = asciiLowerCase(name);
    if (seen.has(lower)) return malformed(`parameter ${quote(name)} is given twice`);
    seen.add(lower);
    if (lower.startsWith("_pq_.")) unrecognised.push(name);
    // PostgreSQL compares these four with strcmp, so "USER" is a setting to it, and not one it knows.
    else if (name === "user") user = value;
    else if (name === "database") database = value;
    else if (name === "options") options = value;
    else if (lower === "replication") return err(replicationRefused());
    else settings.push([name, value]);
  }
  if (user === "") {
    return err(
      refusal("token_invalid", "no PostgreSQL user name specified in startup packet", {
        hint: "name a user, for example psql -U app",
      }),
    );
  }
  const fromOptions = parseOptions(options);
  if (!fromOptions.ok) return fromOptions;
  // The server applies `options` first and the named parameters over them (process_startup_options).
  const parameters = allowedSettings([...fromOptions.value, ...settings]);
  if (!parameters.ok) return parameters;
  const latestMinor = LATEST_PROTOCOL & 0xffff;
  return ok({
    kind: "startup",
    minor: Math.min(clientMinor, latestMinor),
    negotiate: clientMinor > latestMinor || unrecognised.length > 0 ? unrecognised : undefined,
    user,
    database: database === "" ? user : database,
    parameters: parameters.value,
  });
}

/** Name and value pairs, ended by an empty name which has to be the packet's last byte. */
function decodePairs(packet: Uint8Array): Result<[string, string][], Refusal> {
  const strings: string[] = [];
  let at = 8;
  for (;;) {
    const end = packet.indexOf(0, at);
    if (end < 0) return malformed("a parameter is not ended by a zero byte");
    if (end === at && strings.length % 2 === 0) {
      if (end !== packet.length - 1) return malformed("expected terminator as last byte");
      break;
    }
    const value = fromUtf8(packet.subarray(at, end));
    if (value === undefined)
      return malformed(`parameter ${quote(displayUtf8(packet.subarray(at, end)))} is not valid UTF-8`);
    strings.push(value);
    at = end + 1;
  }
  const pairs: [string, string][] = [];
  for (let i = 0; i < strings.length; i += 2) pairs.push([strings[i] ?? "", strings[i + 1] ?? ""]);
  return ok(pairs);
}

function allowedSettings(
  settings: readonly (readonly [string, string])[],
): Result<Record<string, string>, Refusal> {
  const parameters: Record<string, string> = {};
  for (const [name, value] of settings) {
    const spelling = SPELLING.get(asciiLowerCase(name));
    if (spelling === undefined) {
      return err(
        refusal(
          "setting_not_allowed",
          `startup parameter ${quote(name)} is not allowed through this gateway`,
          { hint: ALLOWED_TEXT },
        ),
      );
    }
    if (spelling === "client_encoding" && !isUtf8Name(value)) {
      return err(
        refusal(
          "setting_not_allowed",
          `client_encoding ${quote(value)} is not allowed through this gateway`,
          {
            hint: "only UTF8 is, for example PGCLIENTENCODING=UTF8; the server converts from the database's own encoding",
          },
        ),
      );
    }
    parameters[spelling] = value;
  }
  // Always asked for, so that a database in another encoding speaks UTF-8 to us too.
  parameters["client_encoding"] = "UTF8";
  return ok(parameters);
}

/** PostgreSQL ignores case and everything but letters and digits in an encoding's name (clean_encoding_name). */
function isUtf8Name(value: string): boolean {
  const name = asciiLowerCase(value).replaceAll(/[^a-z0-9]/g, "");
  return name === "utf8" || name === "unicode";
}

/**
 * The command-line style `options` parameter. Words end at white space, and a backslash takes the next
 * character as it is (pg_split_opts); of the switches only `-c name=value` and `--name=value` are taken.
 */
export function parseOptions(options: string): Result<[string, string][], Refusal> {
  const words = splitOptions(options);
  const settings: [string, string][] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? "";
    let assignment: string | undefined;
    if (word === "-c") assignment = words[++i];
    else if (word.startsWith("-c")) assignment = word.slice(2);
    else if (word.startsWith("--")) assignment = word.slice(2);
    const equals = assignment?.indexOf("=") ?? -1;
    if (assignment === undefined || equals <= 0) {
      return err(
        refusal("setting_not_allowed", `startup options ${quote(word)} is not allowed through this gateway`, {
          hint: `write -c name=value or --name=value; ${ALLOWED_TEXT}`,
        }),
      );
    }
    // ParseLongOption turns hyphens in the name into underscores.
    settings.push([assignment.slice(0, equals).replaceAll("-", "_"), assignment.slice(equals + 1)]);
  }
  return ok(settings);
}

function splitOptions(options: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  for (let i = 0; i < options.length; i++) {
    const character = options.charAt(i);
    if (" \t\n\v\f\r".includes(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (character === "\\") {
      word = (word ?? "") + options.charAt(++i);
    } else {
      word = (word ?? "") + character;
    }
  }
  if (word !== undefined) words.push(word);
  return words;
}

/** Lower case of A to Z only, as PostgreSQL's guc_name_compare does, in any locale. */
function asciiLowerCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());
}

function quote(value: string): string {
  return `"${value.length > 64 ? `${value.slice(0, 64)}...` : value}"`;
}

function replicationRefused(): Refusal {
  return refusal(
    "setting_not_allowed",
    `startup parameter "replication" is not allowed through this gateway`,
    {
      hint: "replication streams whole databases past every policy; connect to the server directly for it",
    },
  );
}

function malformed(what: string): { ok: false; error: Refusal } {
  return err(refusal("protocol_violation", `invalid startup packet: ${what}`));
}

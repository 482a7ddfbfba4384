/**
 * SAML logins in the Control object's SQLite: those that are under way, the codes that they end in, and what
 * `sally` keeps of them. Secrets are kept as hashes. Whatever may be used once is marked before it has effect.
 *
 *   begin ── browser, provider ──► finish ── redirect with a code ──► redeem ──► login, until it ends
 */
import { createHash } from "node:crypto";
import { LIMITS } from "../../../wire/limits.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { CodeGrant, LoginRequest } from "../../identity/code-grant.ts";
import type { SamlIdentity } from "../../identity/saml/assertion.ts";
import { base64url } from "../../identity/token-form.ts";
import type { Principal } from "../../policy/types.ts";
import { identifier, randomBytes } from "../identifiers.ts";

/** What a login is worth. Times in milliseconds since the epoch. */
export type SamlLogin = {
  readonly provider: string;
  readonly principal: Principal;
  readonly issuedAt: number;
  readonly endsAt: number;
};

/** Where the browser goes with the outcome. */
export type LoginOutcome = { readonly redirectUri: string; readonly state: string; readonly code: string };

const LOGIN = /^sll_[A-Za-z0-9_-]{43}$/;

export class SamlLogins {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec(`
      CREATE TABLE IF NOT EXISTS saml_begun (
        id TEXT PRIMARY KEY, provider TEXT NOT NULL, source TEXT NOT NULL, body TEXT NOT NULL,
        forget_at INTEGER NOT NULL);
      CREATE INDEX IF NOT EXISTS saml_begun_source ON saml_begun (source);
      CREATE TABLE IF NOT EXISTS saml_assertions (
        issuer TEXT NOT NULL, id TEXT NOT NULL, forget_at INTEGER NOT NULL, PRIMARY KEY (issuer, id));
      CREATE TABLE IF NOT EXISTS saml_codes (
        hash TEXT PRIMARY KEY, request TEXT NOT NULL, login TEXT NOT NULL, forget_at INTEGER NOT NULL);
      CREATE TABLE IF NOT EXISTS saml_logins (
        hash TEXT PRIMARY KEY, login TEXT NOT NULL, forget_at INTEGER NOT NULL);
    `);
  }

  /**
   * Identifier of the request to the provider; undefined when too many logins are under way, in all or from this
   * network address (undefined where the platform does not say it).
   */
  begin(
    provider: string,
    request: LoginRequest,
    source: string | undefined,
    now: number,
  ): string | undefined {
    if (!this.#hasRoom("saml_begun", LIMITS.saml.requests, now)) return undefined;
    const from = this.#sql
      .exec<{ count: number }>("SELECT count(*) AS count FROM saml_begun WHERE source = ?", source ?? "")
      .one().count;
    if (source !== undefined && from >= LIMITS.saml.requestsOfSource) return undefined;
    // An XML identifier begins with a letter or an underscore.
    const id = identifier("req");
    const forgetAt = now + LIMITS.time.samlRequest;
    const body = JSON.stringify(request);
    this.#sql.exec(
      "INSERT INTO saml_begun VALUES (?, ?, ?, ?, ?)",
      id,
      provider,
      source ?? "",
      body,
      forgetAt,
    );
    return id;
  }

  /** Ends a login with an identity that was verified: each request once, each assertion once. */
  finish(provider: string, identity: SamlIdentity, now: number): Result<LoginOutcome, "request" | "replay"> {
    const row = this.#sql
      .exec<{ body: string }>(
        "SELECT body FROM saml_begun WHERE id = ? AND provider = ? AND forget_at > ?",
        identity.request ?? "",
        provider,
        now,
      )
      .toArray()[0];
    if (row === undefined) return err("request");
    if (!this.useAssertion(identity, now)) return err("replay");
    this.#sql.exec("DELETE FROM saml_begun WHERE id = ?", identity.request ?? "");
    if (!this.#hasRoom("saml_codes", LIMITS.saml.remembered, now)) return err("replay");
    const code = secret("slc");
    const { principal, issuedAt, endsAt } = identity;
    const login: SamlLogin = { provider, principal, issuedAt, endsAt };
    this.#sql.exec(
      "INSERT INTO saml_codes VALUES (?, ?, ?, ?)",
      hash(code),
      row.body,
      JSON.stringify(login),
      now + LIMITS.time.samlCode,
    );
    const { redirectUri, state } = JSON.parse(row.body) as LoginRequest;
    return ok({ redirectUri, state, code });
  }

  /** True the first time. Also false where too many are remembered: forgetting one early would let it be replayed. */
  useAssertion({ principal, assertion, replayUntil }: SamlIdentity, now: number): boolean {
    if (!this.#hasRoom("saml_assertions", LIMITS.saml.remembered, now)) return false;
    return (
      this.#sql.exec(
        "INSERT OR IGNORE INTO saml_assertions VALUES (?, ?, ?)",
        principal.issuer,
        assertion,
        replayUntil,
      ).rowsWritten > 0
    );
  }

  /** The token that stands for the login from now on. A code is spent by the first try, right or wrong. */
  redeem(
    { code, redirectUri, verifier }: CodeGrant,
    now: number,
  ): { readonly token: string; readonly login: SamlLogin } | undefined {
    const row = this.#sql
      .exec<{ request: string; login: string; forget_at: number }>(
        "DELETE FROM saml_codes WHERE hash = ? RETURNING request, login, forget_at",
        hash(code),
      )
      .toArray()[0];
    if (row === undefined || row.forget_at <= now) return undefined;
    const request = JSON.parse(row.request) as LoginRequest;
    const challenge = createHash("sha256").update(verifier).digest("base64url");
    if (request.redirectUri !== redirectUri || request.challenge !== challenge) return undefined;
    if (!this.#hasRoom("saml_logins", LIMITS.saml.remembered, now)) return undefined;
    const token = secret("sll");
    const login = JSON.parse(row.login) as SamlLogin;
    this.#sql.exec("INSERT INTO saml_logins VALUES (?, ?, ?)", hash(token), row.login, login.endsAt);
    return { token, login };
  }

  /** The login that a token stands for; undefined when it has ended or never was. */
  login(token: string, now: number): SamlLogin | undefined {
    if (!LOGIN.test(token)) return undefined;
    const row = this.#sql
      .exec<{ login: string }>(
        "SELECT login FROM saml_logins WHERE hash = ? AND forget_at > ?",
        hash(token),
        now,
      )
      .toArray()[0];
    return row === undefined ? undefined : (JSON.parse(row.login) as SamlLogin);
  }

  /** The login is over: its token stands for nothing from now on. True when there was one. */
  forget(token: string): boolean {
    return (
      LOGIN.test(token) &&
      this.#sql.exec("DELETE FROM saml_logins WHERE hash = ?", hash(token)).rowsWritten > 0
    );
  }

  #hasRoom(
    table: "saml_begun" | "saml_assertions" | "saml_codes" | "saml_logins",
    most: number,
    now: number,
  ): boolean {
    this.#sql.exec(`DELETE FROM ${table} WHERE forget_at <= ?`, now);
    return this.#sql.exec<{ count: number }>(`SELECT count(*) AS count FROM ${table}`).one().count < most;
  }
}

/** 256 bits: their hash needs no salt. */
function secret(prefix: string): string {
  return `${prefix}_${base64url(randomBytes(32))}`;
}

function hash(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

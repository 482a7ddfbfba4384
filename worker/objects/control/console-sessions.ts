/**
 * Browsers that are logged in. The cookie holds 256 random bits, of which only the hash is kept; the identity
 * is what the provider says, asked again with the refresh token when it is older than a minute, so that
 * whoever leaves a group or is locked out there loses it here too.
 */
import { LIMITS } from "../../../wire/limits.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { Issuer } from "../../identity/issuer.ts";
import { verifyIdentityToken } from "../../identity/identity-token.ts";
import type { KeySource } from "../../identity/key-source.ts";
import {
  type ProviderTokens,
  authorizationAddress,
  isForLogin,
  redeemCode,
  renewTokens,
} from "../../identity/web-login.ts";
import { samePrincipal } from "../../policy/approval.ts";
import type { VerifiedToken } from "../../policy/grant.ts";
import type { Principal } from "../../policy/types.ts";
import { randomBytes } from "../identifiers.ts";
import { sha256 } from "../recording/chain.ts";
import { type Entry, ResourceEntries } from "./resource-entries.ts";

/** How long a login may take, from its start to the provider's answer. */
const LOGIN_TIME = 10 * 60_000;
/** The whole length of a browser's session. */
const SESSION_TIME = 12 * 60 * 60_000;
/** An identity older than this is asked for again; of whoever is about to change something, sooner. */
const STALE_AFTER = 60_000;
const STALE_BEFORE_CHANGES = 1_000;
/** Logins that have begun at once: nobody may fill the storage by beginning them. */
const MOST_LOGINS = 10_000;

type ConsoleIssuer = Issuer & { readonly consoleClientId: string };

type Row = {
  readonly id: string;
  readonly csrf: string;
  readonly issuer: string;
  readonly principal: string;
  readonly issued_at: number;
  readonly good_until: number;
  readonly renewed_at: number;
  readonly ends_at: number;
  readonly refresh_token: string | null;
};

type LoginRow = {
  readonly issuer: string;
  readonly nonce: string;
  readonly verifier: string;
  readonly return_to: string;
  readonly cookie: string;
  readonly expires_at: number;
};

export type ConsoleHost = {
  readonly issuers: () => readonly Issuer[];
  readonly secret: (name: string) => string | undefined;
  readonly keySource: KeySource;
  readonly publicUrl: () => string;
  /** What still counts of a token: revocations and groups that were left (identity.ts). */
  readonly stillGood: (token: VerifiedToken) => Result<VerifiedToken, Refusal>;
  readonly seen: (principal: Principal, at: number) => void;
  readonly record: (body: { readonly type: string; readonly [field: string]: unknown }) => void;
};

/** A browser's secret, and where it goes with it; `resource` names the origin that it is for, if not ours. */
export type FinishedLogin = {
  readonly cookie: string;
  readonly returnTo: string;
  readonly endsAt: number;
  readonly resource?: string;
};

/** Somebody's browser, admitted for one request or frame. */
export type Browser = {
  readonly token: VerifiedToken;
  readonly csrf: string;
  /** Identifies the session among the gateway's parts; no secret. */
  readonly id: string;
};

export class ConsoleSessions {
  readonly #sql: SqlStorage;
  readonly #host: ConsoleHost;
  readonly #renewing = new Map<string, Promise<void>>();
  readonly #entries: ResourceEntries;

  constructor(sql: SqlStorage, host: ConsoleHost) {
    this.#sql = sql;
    this.#host = host;
    sql.exec(`
      CREATE TABLE IF NOT EXISTS console_logins (
        state TEXT PRIMARY KEY, issuer TEXT NOT NULL, nonce TEXT NOT NULL, verifier TEXT NOT NULL,
        return_to TEXT NOT NULL, cookie TEXT NOT NULL, expires_at INTEGER NOT NULL);
      CREATE TABLE IF NOT EXISTS console_sessions (
        id TEXT PRIMARY KEY, csrf TEXT NOT NULL, issuer TEXT NOT NULL, principal TEXT NOT NULL,
        issued_at INTEGER NOT NULL, good_until INTEGER NOT NULL, renewed_at INTEGER NOT NULL,
        ends_at INTEGER NOT NULL, refresh_token TEXT);
      CREATE INDEX IF NOT EXISTS console_sessions_end ON console_sessions (ends_at);
    `);
    this.#entries = new ResourceEntries(sql);
  }

  /**
   * Begins a login: where the browser goes, and the cookie that ties the answer to it. With an `entry` it is for a
   * resource's origin, not for the console.
   */
  async begin(
    named: string | undefined,
    returnTo: string,
    now: number,
    entry?: Entry,
  ): Promise<Result<{ address: string; cookie: string }, Refusal>> {
    const issuers = this.#host.issuers().filter(isForConsole);
    const issuer = named === undefined ? issuers[0] : issuers.find((one) => one.issuer === named);
    if (issuer === undefined || (named === undefined && issuers.length > 1)) {
      return err(refusal("not_found", "this is not an identity provider for the console"));
    }
    const [state, nonce, verifier, cookie] = [secret(), secret(), secret(), secret()];
    const address = await authorizationAddress((url, init) => fetch(url, init), issuer, this.#redirectUri(), {
      state,
      nonce,
      verifier,
    });
    if (!address.ok) return err(refusal("token_invalid", "the identity provider cannot be reached"));
    this.#sql.exec("DELETE FROM console_logins WHERE expires_at < ?", now);
    // The oldest make room: whoever begins logins only to fill the table keeps nobody else out for long.
    this.#sql.exec(
      "DELETE FROM console_logins WHERE state IN (SELECT state FROM console_logins ORDER BY expires_at DESC LIMIT -1 OFFSET ?)",
      MOST_LOGINS,
    );
    this.#sql.exec(
      "INSERT INTO console_logins VALUES (?, ?, ?, ?, ?, ?, ?)",
      sha256(state),
      issuer.issuer,
      nonce,
      verifier,
      returnTo,
      sha256(cookie),
      now + LOGIN_TIME,
    );
    if (entry !== undefined) this.#entries.expect(sha256(state), entry, now, now + LOGIN_TIME, MOST_LOGINS);
    return ok({ address: address.value, cookie });
  }

  /**
   * The provider's answer. Each login is used up by its first answer, good or not. Of a login for a resource the
   * `cookie` is the code to enter with.
   */
  async finish(
    { code, state, cookie }: { readonly code: string; readonly state: string; readonly cookie: string },
    now: number,
  ): Promise<Result<FinishedLogin, Refusal>> {
    const entry = this.#entries.take(sha256(state));
    const login = this.#sql
      .exec<LoginRow>("DELETE FROM console_logins WHERE state = ? RETURNING *", sha256(state))
      .toArray()[0];
    const invalid = err(refusal("token_invalid", "this login was not begun here, or has expired"));
    if (login === undefined || login.expires_at < now || login.cookie !== sha256(cookie)) return invalid;
    const issuer = this.#host
      .issuers()
      .filter(isForConsole)
      .find((one) => one.issuer === login.issuer);
    if (issuer === undefined) return invalid;
    const tokens = await redeemCode((url, init) => fetch(url, init), issuer, this.#clientSecret(issuer), {
      code,
      verifier: login.verifier,
      redirectUri: this.#redirectUri(),
    });
    if (!tokens.ok) {
      console.warn(`console login refused: ${tokens.error}`);
      return err(refusal("token_invalid", "the identity provider did not confirm the login"));
    }
    const verified = await this.#verify(issuer, tokens.value, login.nonce, Date.now());
    if (!verified.ok) return verified;
    const { principal, issuedAt, expiresAt } = verified.value;
    const fresh = secret();
    const endsAt = now + SESSION_TIME;
    const what = entry === undefined ? {} : { resource: entry.resource };
    this.#host.record({ type: "console_login", principal, ...what });
    this.#host.seen(principal, issuedAt);
    this.#sql.exec("DELETE FROM console_sessions WHERE ends_at < ?", now);
    this.#sql.exec(
      "INSERT INTO console_sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
      sha256(fresh),
      secret(),
      issuer.issuer,
      JSON.stringify(principal),
      issuedAt,
      Math.min(expiresAt, now + LIMITS.time.sessionToken),
      now,
      endsAt,
      tokens.value.refreshToken ?? null,
    );
    if (entry === undefined) return ok({ cookie: fresh, returnTo: login.return_to, endsAt });
    this.#entries.prune();
    this.#entries.made(sha256(fresh), entry, now);
    return ok({ cookie: fresh, returnTo: entry.returnTo, endsAt, resource: entry.resource });
  }

  /** Trades a code and the secret of the browser that began for a cookie on the resource's origin. */
  enter(
    { resource, code, proof }: { readonly resource: string; readonly code: string; readonly proof: string },
    now: number,
  ): Result<{ cookie: string; endsAt: number }, Refusal> {
    const id = sha256(code);
    const cookie = secret();
    const row = this.#row(id);
    const entered = this.#entries.enter(id, resource, proof, sha256(cookie), now);
    if (entered === "refused") this.#end(id);
    if (entered !== "entered" || row === undefined) {
      return err(refusal("token_invalid", "this login was not begun here, or has expired"));
    }
    this.#sql.exec("UPDATE console_sessions SET id = ? WHERE id = ?", sha256(cookie), id);
    return ok({ cookie, endsAt: row.ends_at });
  }

  /** The token that a request with this cookie on a resource's origin counts as. */
  async admitTo(resource: string, cookie: string, now: number): Promise<Result<VerifiedToken, Refusal>> {
    const id = sha256(cookie);
    if (!this.#entries.entered(id, resource)) return err(LOGGED_OUT);
    const browser = await this.admitById(id, false, now);
    if (!browser.ok) return browser;
    const { token } = browser.value;
    return ok({ ...token, resources: [resource], ...this.#entries.token(id, token.expiresAt, now) });
  }

  /** Logs a browser out of a resource's origin. Identifier of the token that it had; undefined for none. */
  leave(resource: string, cookie: string): string | undefined {
    const id = sha256(cookie);
    if (!this.#entries.entered(id, resource)) return undefined;
    const token = this.#entries.lastToken(id);
    this.#end(id);
    return token;
  }

  /** Who a cookie stands for now. `changing`: a request that changes something. */
  admit(cookie: string, changing: boolean, now: number): Promise<Result<Browser, Refusal>> {
    const id = sha256(cookie);
    // The cookie of a resource's origin, or a code for one, is none of the console's.
    if (this.#entries.has(id)) return Promise.resolve(err(LOGGED_OUT));
    return this.admitById(id, changing, now);
  }

  async admitById(id: string, changing: boolean, now: number): Promise<Result<Browser, Refusal>> {
    const before = this.#row(id);
    if (before === undefined || before.ends_at <= now) return err(LOGGED_OUT);
    const age = now - before.renewed_at;
    const stale = age > (changing ? STALE_BEFORE_CHANGES : STALE_AFTER);
    if (before.refresh_token !== null && stale) await this.#renew(before, now);
    const row = this.#row(id);
    if (row === undefined || row.good_until <= now) {
      this.#end(id);
      return err(LOGGED_OUT);
    }
    const good = this.#host.stillGood({
      principal: JSON.parse(row.principal) as Principal,
      resources: null,
      tokenId: `console ${id.slice(0, 16)}`,
      issuedAt: row.issued_at,
      expiresAt: Math.min(row.good_until, row.ends_at),
    });
    if (!good.ok) {
      this.#end(id);
      return good;
    }
    return ok({ token: good.value, csrf: row.csrf, id });
  }

  /** Its owner logs out. */
  end(cookie: string): void {
    const id = sha256(cookie);
    const row = this.#row(id);
    if (row === undefined) return;
    this.#host.record({ type: "console_logout", principal: JSON.parse(row.principal) as Principal });
    this.#end(id);
  }

  #end(id: string): void {
    this.#entries.forget(id);
    this.#sql.exec("DELETE FROM console_sessions WHERE id = ?", id);
  }

  #row(id: string): Row | undefined {
    return this.#sql.exec<Row>("SELECT * FROM console_sessions WHERE id = ?", id).toArray()[0];
  }

  /** One renewal at a time: providers give a new refresh token and take the old one for stolen if it comes again. */
  async #renew(row: Row, now: number): Promise<void> {
    let renewing = this.#renewing.get(row.id);
    if (renewing === undefined) {
      renewing = this.#renewOnce(row, now).finally(() => this.#renewing.delete(row.id));
      this.#renewing.set(row.id, renewing);
    }
    await renewing;
  }

  async #renewOnce(row: Row, now: number): Promise<void> {
    const issuer = this.#host
      .issuers()
      .filter(isForConsole)
      .find((one) => one.issuer === row.issuer);
    if (issuer === undefined || row.refresh_token === null) return this.#end(row.id);
    const tokens = await renewTokens(
      (url, init) => fetch(url, init),
      issuer,
      this.#clientSecret(issuer),
      row.refresh_token,
    );
    // A provider that is down does not log anybody out before what it said last has run out.
    if (!tokens.ok) return tokens.error === "code_refused" ? this.#end(row.id) : undefined;
    const verified = await this.#verify(issuer, tokens.value, undefined, Date.now());
    const same =
      verified.ok && samePrincipal(verified.value.principal, JSON.parse(row.principal) as Principal);
    if (!same) return this.#end(row.id);
    const { principal, issuedAt, expiresAt } = verified.value;
    this.#host.seen(principal, issuedAt);
    this.#sql.exec(
      "UPDATE console_sessions SET principal = ?, issued_at = ?, good_until = ?, renewed_at = ?, refresh_token = ? WHERE id = ?",
      JSON.stringify(principal),
      issuedAt,
      Math.min(expiresAt, now + LIMITS.time.sessionToken),
      now,
      tokens.value.refreshToken ?? row.refresh_token,
      row.id,
    );
  }

  async #verify(
    issuer: ConsoleIssuer,
    { idToken }: ProviderTokens,
    nonce: string | undefined,
    now: number,
  ): Promise<Result<{ principal: Principal; issuedAt: number; expiresAt: number }, Refusal>> {
    const { keySource } = this.#host;
    const verified = await verifyIdentityToken(idToken, [issuer], keySource, now);
    if (!verified.ok) {
      console.warn(`console login refused: ${verified.error.problem}`);
      return err(verified.error.refusal);
    }
    return isForLogin(idToken, issuer.consoleClientId, nonce)
      ? verified
      : err(refusal("token_invalid", "the identity provider's token is not for this login"));
  }

  #clientSecret({ consoleClientSecret }: ConsoleIssuer): string | undefined {
    return consoleClientSecret === undefined ? undefined : this.#host.secret(consoleClientSecret);
  }

  #redirectUri(): string {
    return `${this.#host.publicUrl()}/console/callback`;
  }
}

const LOGGED_OUT = refusal("token_missing", "you are not logged in, or not any more", {
  hint: "log in again",
});

function isForConsole(issuer: Issuer): issuer is ConsoleIssuer {
  return issuer.consoleClientId !== undefined;
}

/** 256 random bits in hexadecimal. */
function secret(): string {
  return Buffer.from(randomBytes(32)).toString("hex");
}

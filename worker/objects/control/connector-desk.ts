/** Connectors as people enrol and revoke them, and as they renew their own keys. Recorded before it takes effect. */
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { connectorOf } from "../../env.ts";
import { parseConnectorKey } from "../../identity/connector-token.ts";
import { SECRET_BYTES, joinTokenHash, newJoinToken, useJoinToken } from "../../identity/secrets.ts";
import type { Principal } from "../../policy/types.ts";
import { randomBytes } from "../identifiers.ts";
import type { EventBody } from "../recording/chain.ts";
import type { Authority } from "./authority.ts";
import { type ConnectorKey, Connectors } from "./connectors.ts";

export type ConnectorHost = {
  readonly connector: (name: string) => ReturnType<typeof connectorOf>;
  readonly authority: Authority;
  readonly record: (body: EventBody) => void;
  /** Ends the live sessions of every resource that this connector serves by configuration. */
  readonly endSessions: (connector: string, why: Refusal) => Promise<void>;
};

const NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/;

export class ConnectorDesk {
  readonly #store: Connectors;
  readonly #host: ConnectorHost;

  constructor(sql: SqlStorage, host: ConnectorHost) {
    this.#store = new Connectors(sql);
    this.#host = host;
  }

  async newJoinToken(
    principal: Principal,
    name: string,
  ): Promise<Result<{ token: string; expiresAt: number }, Refusal>> {
    const allowed = this.#host.authority.authorize(principal, undefined, "config:write");
    if (!allowed.ok) return allowed;
    if (!NAME.test(name)) {
      return err(
        refusal("request_invalid", "a connector's name has lower-case letters, digits, dots and dashes"),
      );
    }
    const { token, record } = await newJoinToken(name, randomBytes(SECRET_BYTES), Date.now());
    this.#host.record({ type: "join_token", connector: name, by: principal });
    this.#store.saveJoinToken(record);
    return ok({ token, expiresAt: record.expiresAt });
  }

  async enroll(token: string, name: string, key: unknown): Promise<Result<{ name: string }, Refusal>> {
    const jwk = parseConnectorKey(key);
    if (jwk === undefined)
      return err(refusal("request_invalid", "publicKey has to be an Ed25519 public JWK"));
    const hash = await joinTokenHash(token);
    const record = hash === undefined ? undefined : this.#store.joinToken(hash);
    // One turn without awaiting between reading and marking would be simplest; hashing is asynchronous, so
    // the token is read again after it.
    const used = await useJoinToken(record, token, name, Date.now());
    if (!used.ok) return used;
    if (this.#store.joinToken(used.value.hash)?.usedAt !== undefined) {
      return err(refusal("connector_not_trusted", "the join token has been used"));
    }
    this.#store.saveJoinToken(used.value);
    this.#host.record({ type: "enroll", connector: name, key: jwk.x });
    this.#store.enroll(name, jwk, Date.now());
    await this.#host.connector(name).replaced();
    return ok({ name });
  }

  /** A connector's own new key; the route has verified that the holder of both keys asks. */
  async rotateKey(
    name: string,
    before: ConnectorKey,
    after: ConnectorKey,
  ): Promise<Result<{ name: string }, Refusal>> {
    const untrusted = refusal("connector_not_trusted", "the connector's key is not the one that it was");
    const known = this.#store.get(name);
    if (known === undefined || known.publicKey.x !== before.x || after.x === before.x) return err(untrusted);
    this.#host.record({ type: "connector_key", connector: name, before: before.x, key: after.x });
    if (!this.#store.replaceKey(name, before, after)) return err(untrusted);
    // Whoever only has the old key does not come back.
    await this.#host.connector(name).replaced();
    return ok({ name });
  }

  /** The key that a connector's tokens have to be signed with; undefined when unknown or revoked. */
  key(name: string): ConnectorKey | undefined {
    const row = this.#store.get(name);
    return row === undefined || row.revokedAt !== undefined ? undefined : row.publicKey;
  }

  list(principal: Principal): Result<{ name: string; enrolledAt: number; revoked: boolean }[], Refusal> {
    return this.#host.authority.permitted(principal, "config:read", () =>
      this.#store
        .list()
        .map(({ name, enrolledAt, revokedAt }) => ({ name, enrolledAt, revoked: revokedAt !== undefined })),
    );
  }

  async revoke(principal: Principal, name: string): Promise<Result<void, Refusal>> {
    const allowed = this.#host.authority.authorize(principal, undefined, "config:write");
    if (!allowed.ok) return allowed;
    if (this.#store.get(name) === undefined)
      return err(refusal("not_found", `there is no connector ${name}`));
    this.#host.record({ type: "revoke_connector", connector: name, by: principal });
    this.#store.revoke(name, Date.now());
    await this.#host.connector(name).revoke();
    // Its sessions have sockets of their own, which a connector that is not ours any more would not close.
    const hint = "connect again when its resources are served by another";
    await this.#host.endSessions(
      name,
      refusal("upstream_lost", `the connector ${name} has been revoked`, { hint }),
    );
    return ok(undefined);
  }
}

/** How people log in with `sally` and the console: at which issuers, and through SAML providers. */
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { LoginRequest } from "../../identity/code-grant.ts";
import type { SamlIdentity } from "../../identity/saml/assertion.ts";
import type { SamlProvider } from "../../identity/saml/provider.ts";
import type { EventBody } from "../recording/chain.ts";
import type { LoginOutcome, SamlLogins } from "./saml.ts";
import type { Configuration } from "./types.ts";

export type LoginHost = {
  readonly config: () => Configuration | undefined;
  readonly record: (body: EventBody) => void;
};

/** Issuers with a client for `sally` or the console, and names of SAML providers. */
export type LoginIssuers = {
  issuers: { issuer: string; clientId?: string; scopes: readonly string[]; console?: true }[];
  saml: { name: string; entityId: string }[];
};

export class LoginDesk {
  readonly #logins: SamlLogins;
  readonly #host: LoginHost;

  constructor(logins: SamlLogins, host: LoginHost) {
    this.#logins = logins;
    this.#host = host;
  }

  issuers(): LoginIssuers {
    const { issuers = [], saml = [] } = this.#host.config() ?? {};
    return {
      issuers: issuers
        .filter(({ clientId, consoleClientId }) => clientId !== undefined || consoleClientId !== undefined)
        .map(({ issuer, clientId, consoleClientId, scopes }) => ({
          issuer,
          ...(clientId === undefined ? {} : { clientId }),
          scopes,
          ...(consoleClientId === undefined ? {} : { console: true as const }),
        })),
      saml: saml.map(({ name, entityId }) => ({ name, entityId })),
    };
  }

  samlProvider(name: string): SamlProvider | undefined {
    return this.#host.config()?.saml.find((provider) => provider.name === name);
  }

  /** Identifier of the request with which a browser is sent to the provider. */
  beginSaml(
    provider: string,
    request: LoginRequest,
    source: string | undefined,
    now: number,
  ): Result<string, Refusal> {
    const id = this.#logins.begin(provider, request, source, now);
    if (id !== undefined) return ok(id);
    return err(refusal("over_limit", "too many logins are under way; try again in some minutes"));
  }

  /** Takes an identity from a verified response; where the browser goes with its code, undefined when refused. */
  finishSaml(provider: string, identity: SamlIdentity, now: number): LoginOutcome | undefined {
    const finished = this.#logins.finish(provider, identity, now);
    const { principal, assertion, request } = identity;
    if (!finished.ok) {
      console.warn(`saml response refused: ${finished.error}`);
      return undefined;
    }
    this.#host.record({ type: "login", provider, principal, assertion, request });
    return finished.value;
  }

  /** Ends what a token of a SAML login stands for; whoever has it may. */
  end(token: string): void {
    if (this.#logins.forget(token)) this.#host.record({ type: "logout" });
  }
}

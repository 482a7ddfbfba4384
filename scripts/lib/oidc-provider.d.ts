/** The part of oidc-provider (which ships no types) that oidc-process.ts uses. */
declare module "oidc-provider" {
  import type { IncomingMessage, ServerResponse } from "node:http";

  export type Grant = {
    addOIDCScope(scope: string): void;
    save(): Promise<string>;
  };

  type Context = {
    readonly oidc: {
      readonly client: { readonly clientId: string };
      readonly session: { readonly accountId: string };
      readonly params: { readonly scope: string };
      readonly result?: { readonly login?: { readonly accountId: string } };
      readonly provider: Provider;
    };
  };

  export type Configuration = {
    readonly clients: readonly Readonly<Record<string, unknown>>[];
    readonly jwks: { readonly keys: readonly Readonly<Record<string, unknown>>[] };
    readonly cookies: { readonly keys: readonly string[] };
    readonly claims: Readonly<Record<string, readonly string[]>>;
    readonly scopes: readonly string[];
    readonly conformIdTokenClaims: boolean;
    readonly features: Readonly<Record<string, { readonly enabled: boolean }>>;
    readonly interactions: {
      url(context: Context, interaction: { readonly uid: string }): string;
      readonly policy: interactionPolicy.Policy;
    };
    readonly ttl: Readonly<Record<string, number>>;
    readonly issueRefreshToken: (
      context: Context,
      client: { grantTypeAllowed(type: string): boolean },
    ) => Promise<boolean>;
    readonly loadExistingGrant: (context: Context) => Promise<Grant>;
    readonly findAccount: (
      context: Context,
      id: string,
    ) => { accountId: string; claims(): Readonly<Record<string, unknown>> } | undefined;
    readonly renderError: (context: { body: string; type: string }, out: Record<string, string>) => void;
  };

  export namespace interactionPolicy {
    class Check {
      static readonly REQUEST_PROMPT: true;
      static readonly NO_NEED_TO_PROMPT: false;
      constructor(reason: string, description: string, check: (context: Context) => boolean);
    }
    type Policy = {
      get(name: string): { readonly checks: { add(check: Check): void } };
      remove(name: string): void;
    };
    function base(): Policy;
  }

  export class Provider {
    constructor(issuer: string, configuration: Configuration);
    readonly Grant: new (properties: { accountId: string; clientId: string }) => Grant;
    callback(): (request: IncomingMessage, response: ServerResponse) => void;
    interactionDetails(
      request: IncomingMessage,
      response: ServerResponse,
    ): Promise<{ readonly uid: string; readonly params: Readonly<Record<string, unknown>> }>;
    interactionFinished(
      request: IncomingMessage,
      response: ServerResponse,
      result: { readonly login: { readonly accountId: string } } | { readonly error: string },
    ): Promise<void>;
  }
}

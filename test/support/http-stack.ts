/** A whole system with a real HTTP server behind its connector, as two resources: with masks and without. */
import { testConfiguration } from "./test-system.ts";
import { type HttpUpstream, startHttpUpstream } from "./http-upstream.ts";
import { type PrivateStack, startPrivateStack } from "./stack.ts";

export type HttpStack = {
  readonly stack: PrivateStack;
  readonly upstream: HttpUpstream;
  /** Address of a resource at the gateway, such as `…/http/plain-api`. */
  url(resource: string): string;
  stop(): Promise<void>;
};

/** Nothing is masked, and no route is known. */
export const PLAIN = "plain-api";
/** `ssn` and `email` are masked, and what cannot be inspected is denied. */
export const MASKED = "masked-api";

/** Detectors look at what no mask names, and what cannot be inspected passes. */
export const WATCHED = "watched-api";

export const UPSTREAM_KEY = "Bearer the-upstream-key";

const RESOURCES = `
  ${PLAIN}:
    protocol: http
    connector: demo
    http: { graphql: [/graphql], redirects: same }
  ${MASKED}:
    protocol: http
    connector: demo
    detectors: off
    http:
      masks: { ssn: full, email: email, accounts.iban: last4 }
      bodyFields: [amount]
  ${WATCHED}:
    protocol: http
    connector: demo
    detectors: mask
    http:
      openapi: { openapi: 3.1.0, paths: { "/customers/{id}": { get: {} }, /customers/all: {} } }
      uninspectable: allow
      redirects: any
`;

const POLICIES = `
@id("test-holds")
@approval("dba")
permit (principal in Group::"engineers", action == Action::"http:write", resource)
when { (resource == Resource::"${PLAIN}" || resource == Resource::"${MASKED}") && context.method == "DELETE" };

@id("test-no-secrets")
@reason("nobody reads the secrets")
forbid (principal, action in Action::"http", resource)
when { context.path like "/secret*" };

@id("test-no-mutations")
forbid (principal in Group::"engineers", action == Action::"http:write", resource == Resource::"${PLAIN}")
when { context.graphqlOperation == "mutation" };

@id("test-no-single-customers")
forbid (principal, action in Action::"http", resource == Resource::"${WATCHED}")
when { context.route == "/customers/{id}" };

@id("test-no-ledger")
forbid (principal, action in Action::"http", resource == Resource::"${PLAIN}")
when { context.grpcService == "shop.Ledger" };

@id("test-no-large-amounts")
forbid (principal, action == Action::"http:write", resource == Resource::"${MASKED}")
when { context.body.contains("amount=1000") };
`;

export async function startHttpStack(): Promise<HttpStack> {
  const upstream = await startHttpUpstream();
  process.env["HTTP_TEST_KEY"] = "the-upstream-key";
  const stack = await startPrivateStack({
    configuration: async (values) => {
      const files = await testConfiguration(values);
      return {
        ...files,
        "sallyport.yaml": `${files["sallyport.yaml"] ?? ""}${RESOURCES}`,
        "http.cedar": POLICIES,
      };
    },
    databases: [],
    resources: () => ({
      [PLAIN]: {
        protocol: "http",
        address: `http://127.0.0.1:${upstream.port}`,
        credential: { bearer: "env:HTTP_TEST_KEY" },
      },
      [MASKED]: { protocol: "http", address: `http://127.0.0.1:${upstream.port}/` },
      [WATCHED]: { protocol: "http", address: `http://127.0.0.1:${upstream.port}/` },
    }),
  });
  await stack.system.waitUntilOnline(PLAIN);
  return {
    stack,
    upstream,
    url: (resource) => `${stack.gateway}/http/${resource}`,
    stop: async () => {
      await stack.stop();
      await upstream.stop();
    },
  };
}

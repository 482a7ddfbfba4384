/** Nobody is logged in: where to go for it. */
import type { JSX } from "preact";
import { loggedOut } from "../api/client.ts";
import { useLoad } from "../api/load.ts";
import { Icon } from "../components/icon.tsx";
import { Failed, Loading } from "../components/parts.tsx";
import { place } from "../router.ts";

type Issuers = { readonly issuers: readonly { readonly issuer: string; readonly console?: boolean }[] };

/** Why somebody who was logged in is not, by refusal code. */
const ENDED: Readonly<Record<string, string>> = {
  principal_revoked: "Your access has been revoked. An administrator can lift that.",
};

export function LoginPage(): JSX.Element {
  const { value, problem, reload } = useLoad<Issuers>("/v1/login");
  const { query } = place.value;
  const issuers = value?.issuers.filter((issuer) => issuer.console === true) ?? [];
  const failed = query.get("login") === "failed";
  const here = failed ? "/console/" : location.pathname + location.search;
  return (
    <main class="alone">
      <div class="login">
        <h1>
          <Icon name="mark" /> Sallyport
        </h1>
        {failed && (
          <p class="banner deny" role="alert">
            The login did not succeed ({query.get("why") ?? "unknown"}).
          </p>
        )}
        {!failed && loggedOut.value !== undefined && (
          <p class="banner hold" role="alert">
            {ENDED[loggedOut.value] ?? "Your session here has ended. Log in again."}
          </p>
        )}
        {problem !== undefined ? (
          <Failed problem={problem} retry={reload} />
        ) : value === undefined ? (
          <Loading what="where to log in" />
        ) : issuers.length === 0 ? (
          <p>No identity provider of this gateway is set up for the console.</p>
        ) : (
          <>
            <p>See and decide what people and machines do with your databases and servers.</p>
            {issuers.map(({ issuer }) => (
              <a
                key={issuer}
                class="button primary wide"
                href={`/console/login?${new URLSearchParams({ issuer, return: here }).toString()}`}
              >
                Log in{issuers.length > 1 ? ` with ${new URL(issuer).host}` : ""}
              </a>
            ))}
            {issuers.length === 1 && (
              <p class="quiet small">You will be sent to {new URL(issuers[0]?.issuer ?? "").host}.</p>
            )}
          </>
        )}
      </div>
    </main>
  );
}

/** The frame around every page: who is logged in, where to go, whether the picture is live. */
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { groupChange, identity, loadIdentity, post } from "./api/client.ts";
import { approvals, configVersion, connect, connection, disconnect } from "./api/live.ts";
import { Icon, type IconName } from "./components/icon.tsx";
import { Empty, Loading, PageHead, Who } from "./components/parts.tsx";
import { ApprovalPage } from "./pages/approval.tsx";
import { LoginPage } from "./pages/login.tsx";
import { NowPage } from "./pages/now.tsx";
import { OverviewPage } from "./pages/overview.tsx";
import { PoliciesPage } from "./pages/policies.tsx";
import { ResourcePage, ResourcesPage } from "./pages/resources.tsx";
import { SessionPage } from "./pages/session.tsx";
import { SessionsPage } from "./pages/sessions.tsx";
import { href, place } from "./router.ts";
import { nextTheme, theme } from "./theme.ts";

const PAGES: readonly { readonly path: string; readonly title: string; readonly icon: IconName }[] = [
  { path: "", title: "Now", icon: "now" },
  { path: "sessions", title: "Sessions", icon: "sessions" },
  { path: "resources", title: "Resources", icon: "resources" },
  { path: "policies", title: "Policies", icon: "policies" },
  { path: "overview", title: "Overview", icon: "overview" },
];

/** What policy allows may change under an open page. */
const REFRESH_IDENTITY = 60_000;

export function App(): JSX.Element {
  const who = identity.value;
  const loggedIn = who !== undefined && who !== null;
  useEffect(() => {
    if (!loggedIn) return undefined;
    connect();
    const timer = setInterval(() => void loadIdentity(), REFRESH_IDENTITY);
    return () => {
      clearInterval(timer);
      disconnect();
    };
  }, [loggedIn]);
  useEffect(() => {
    if (who !== undefined) return undefined;
    const retry = setInterval(() => void loadIdentity(), 3000);
    return () => clearInterval(retry);
  }, [who]);
  if (who === undefined) {
    return (
      <main class="alone">
        <Loading what="the console" />
      </main>
    );
  }
  return who === null ? <LoginPage /> : <Shell />;
}

function Shell(): JSX.Element {
  const current = place.value.parts[0] ?? "";
  const section = current === "approvals" ? "" : current;
  const pending = [...approvals.value.values()].filter(({ status }) => status === "pending").length;
  const page = PAGES.find(({ path }) => path === section);
  useEffect(() => {
    document.title = `${pending > 0 ? `(${pending}) ` : ""}${page?.title ?? "Sallyport"} · Sallyport`;
  }, [pending, page?.title]);
  return (
    <div class="shell">
      <a class="skip" href="#main">
        Skip to the page
      </a>
      <header class="bar">
        <a class="brand" href={href()}>
          <Icon name="mark" />
          <span>Sallyport</span>
        </a>
        <nav aria-label="pages">
          {PAGES.map(({ path, title, icon }) => (
            <a
              key={path}
              href={path === "" ? href() : href(path)}
              aria-current={path === section ? "page" : undefined}
            >
              <Icon name={icon} />
              <span>{title}</span>
              {path === "" && pending > 0 && (
                <b class="count" aria-label={`${pending} pending`}>
                  {pending}
                </b>
              )}
            </a>
          ))}
        </nav>
        <Account />
      </header>
      <main id="main" tabIndex={-1}>
        <Offline />
        <GroupsChanged />
        {/* What was read with other rights does not stay on the screen. */}
        <Page key={identity.value?.principal.groups.join(" ")} />
      </main>
    </div>
  );
}

function Page(): JSX.Element {
  const [name, id] = place.value.parts;
  switch (name) {
    case undefined:
      return <NowPage />;
    case "approvals":
      return id === undefined ? <NowPage /> : <ApprovalPage key={id} id={id} />;
    case "sessions":
      return id === undefined ? <SessionsPage /> : <SessionPage key={id} id={id} />;
    case "resources":
      return id === undefined ? <ResourcesPage /> : <ResourcePage key={id} name={id} />;
    case "policies":
      return <PoliciesPage />;
    case "overview":
      return <OverviewPage />;
    default:
      return (
        <>
          <PageHead title="There is no such page" />
          <Empty title="Nothing is at this address">
            <a href={href()}>See what happens now</a>
          </Empty>
        </>
      );
  }
}

/** Says why there is less, or more, on the page than a moment ago. */
function GroupsChanged(): JSX.Element | null {
  const change = groupChange.value;
  if (change === undefined) return null;
  const { left, joined } = change;
  const parts = [
    ...(left.length === 0 ? [] : [`no longer in ${left.join(", ")}`]),
    ...(joined.length === 0 ? [] : [`now in ${joined.join(", ")}`]),
  ];
  return (
    <div class="banner hold" role="alert">
      You are {parts.join(", and ")}. What you may see and decide here has changed.{" "}
      <button type="button" class="link" onClick={() => (groupChange.value = undefined)}>
        Understood
      </button>
    </div>
  );
}

function Account(): JSX.Element {
  const who = identity.value?.principal;
  const labels = { system: "theme of the system", light: "light theme", dark: "dark theme" };
  return (
    <div class="account">
      <Live />
      {who !== undefined && (
        <span class="account-name">
          <Who principal={who} />
        </span>
      )}
      <button
        type="button"
        class="icon"
        onClick={nextTheme}
        title={labels[theme.value]}
        aria-label={labels[theme.value]}
      >
        <Icon name={theme.value} />
      </button>
      <button
        type="button"
        class="icon"
        title="log out"
        aria-label="log out"
        onClick={() =>
          void post("/console/logout", {}).then(() => {
            identity.value = null;
          })
        }
      >
        <Icon name="logout" />
      </button>
    </div>
  );
}

function Live(): JSX.Element {
  const texts = {
    connecting: "connecting",
    live: "live",
    lost: "not live",
    forbidden: "nothing live to see",
  };
  const state = connection.value;
  return (
    <span class={`live ${state}`} role="status">
      <i aria-hidden="true" />
      {texts[state]}
    </span>
  );
}

function Offline(): JSX.Element | null {
  const version = configVersion.value;
  if (connection.value === "lost") {
    return (
      <p class="banner hold" role="alert">
        The connection to the gateway is lost. What you see is as it was; it goes on by itself when the
        connection is back.
      </p>
    );
  }
  if (version === undefined) return null;
  return (
    <p class="banner" role="status">
      Configuration version {version} was applied while this page was open.{" "}
      <button type="button" class="link" onClick={() => (configVersion.value = undefined)}>
        Dismiss
      </button>
    </p>
  );
}

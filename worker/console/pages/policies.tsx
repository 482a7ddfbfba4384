/** The configuration and its policies: read, change, try, compare, apply, and go back. */
import type { JSX } from "preact";
import { may } from "../api/client.ts";
import { useLoad } from "../api/load.ts";
import type { Configuration } from "../api/types.ts";
import { Empty, Failed, Loading, PageHead } from "../components/parts.tsx";
import { href, place } from "../router.ts";
import { HistoryView } from "./policies-history.tsx";
import { EditView } from "./policies-edit.tsx";
import { TryView } from "./policies-try.tsx";

const VIEWS = [
  ["edit", "Edit"],
  ["try", "Try"],
  ["history", "History"],
] as const;

export function PoliciesPage(): JSX.Element {
  const readable = may("config:read");
  const config = useLoad<Configuration>(readable ? "/v1/config" : undefined);
  const view = place.value.query.get("view") ?? "edit";
  if (!readable) {
    return (
      <>
        <PageHead title="Policies" />
        <Empty title="Policy does not let you read the configuration">
          It takes the action config:read. You can ask what a statement of yours would need with sally policy
          explain.
        </Empty>
      </>
    );
  }
  return (
    <>
      <PageHead title="Policies">
        {config.value !== undefined && <span class="quiet">running version {config.value.version}</span>}
      </PageHead>
      <nav class="tabs" aria-label="policies">
        {VIEWS.map(([name, title]) => (
          <a
            key={name}
            href={href("policies", { view: name })}
            aria-current={view === name ? "page" : undefined}
          >
            {title}
          </a>
        ))}
      </nav>
      {config.problem !== undefined && <Failed problem={config.problem} retry={config.reload} />}
      {config.value === undefined && config.problem === undefined && <Loading what="the configuration" />}
      {config.value !== undefined &&
        (view === "history" ? (
          <HistoryView running={config.value} onChanged={config.reload} />
        ) : view === "try" ? (
          <TryView running={config.value} />
        ) : (
          <EditView running={config.value} onApplied={config.reload} />
        ))}
    </>
  );
}

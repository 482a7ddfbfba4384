/** What is protected, whether it can be reached, what is masked in it, and who may do what, answered by policy. */
import type { JSX } from "preact";
import { may } from "../api/client.ts";
import { online } from "../api/live.ts";
import { useLoad } from "../api/load.ts";
import type { ListedResource, ResourceDetails } from "../api/types.ts";
import { Empty, Facts, Failed, Loading, PageHead, Section, Time } from "../components/parts.tsx";
import { WhoMayDo } from "../components/who-may.tsx";
import { href } from "../router.ts";

type Listed = { readonly resources: readonly ListedResource[] };
type Connectors = {
  readonly connectors: readonly {
    readonly name: string;
    readonly enrolledAt: string;
    readonly revoked: boolean;
    readonly processes: readonly {
      readonly process: string;
      readonly since: string;
      readonly version: string;
    }[];
  }[];
};

function isOnline(resource: ListedResource): boolean {
  const streamed = online.value.get(resource.connector);
  return streamed === undefined ? resource.online : streamed.includes(resource.name);
}

export function ResourcesPage(): JSX.Element {
  const { value, problem, reload } = useLoad<Listed>("/v1/resources");
  const connectors = useLoad<Connectors>(may("config:read") ? "/v1/connectors" : undefined);
  return (
    <>
      <PageHead title="Resources" />
      {problem !== undefined && <Failed problem={problem} retry={reload} />}
      {value === undefined && problem === undefined && <Loading what="resources" />}
      {value?.resources.length === 0 && (
        <Empty title="No resource is configured">
          Add one to sallyport.yaml under <a href={href("policies")}>Policies</a>.
        </Empty>
      )}
      {value !== undefined && value.resources.length > 0 && (
        <table class="list">
          <thead>
            <tr>
              <th scope="col">Resource</th>
              <th scope="col">Protocol</th>
              <th scope="col">Connector</th>
              <th scope="col">State</th>
              <th scope="col">Labels</th>
            </tr>
          </thead>
          <tbody>
            {value.resources.map((resource) => (
              <tr key={resource.name}>
                <td data-label="Resource">
                  <a class="row-link" href={href("resources", resource.name)}>
                    {resource.name}
                  </a>
                </td>
                <td data-label="Protocol">{resource.protocol}</td>
                <td data-label="Connector">{resource.connector}</td>
                <td data-label="State">
                  <Online resource={resource} />
                </td>
                <td data-label="Labels">
                  <Labels labels={resource.labels} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {may("config:read") && (
        <Section title="Connectors">
          {connectors.problem !== undefined && (
            <Failed problem={connectors.problem} retry={connectors.reload} />
          )}
          {connectors.value?.connectors.length === 0 && (
            <Empty title="No connector has enrolled">sally connector enroll NAME makes a join token.</Empty>
          )}
          <ul class="lines">
            {connectors.value?.connectors.map((connector) => (
              <li key={connector.name}>
                <b>{connector.name}</b>
                {connector.revoked ? (
                  <span class="badge deny">revoked</span>
                ) : connector.processes.length === 0 ? (
                  <span class="badge deny">down</span>
                ) : (
                  <span class="badge allow">up</span>
                )}
                <span class="grow quiet small">
                  {connector.processes.map(({ process, since, version }) => (
                    <span key={process}>
                      version {version}, since <Time at={since} />{" "}
                    </span>
                  ))}
                </span>
                <span class="quiet small">
                  enrolled <Time at={connector.enrolledAt} />
                </span>
              </li>
            ))}
          </ul>
        </Section>
      )}
    </>
  );
}

function Online({ resource }: { readonly resource: ListedResource }): JSX.Element {
  return isOnline(resource) ? (
    <span class="badge allow">online</span>
  ) : (
    <span class="badge deny">offline</span>
  );
}

function Labels({ labels }: { readonly labels: Readonly<Record<string, string>> }): JSX.Element {
  return (
    <>
      {Object.entries(labels).map(([key, value]) => (
        <span key={key} class="tag">
          {key}={value}
        </span>
      ))}
    </>
  );
}

export function ResourcePage({ name }: { readonly name: string }): JSX.Element {
  const listed = useLoad<Listed>("/v1/resources");
  const details = useLoad<ResourceDetails>(
    may("config:read") ? `/v1/resources/${encodeURIComponent(name)}` : undefined,
  );
  const resource = details.value ?? listed.value?.resources.find((each) => each.name === name);
  const back = { href: href("resources"), text: "Resources" };
  if (resource === undefined) {
    const problem = listed.problem ?? details.problem;
    return (
      <>
        <PageHead title={name} back={back} />
        {problem !== undefined ? (
          <Failed problem={problem} retry={listed.reload} />
        ) : listed.value === undefined ? (
          <Loading what="the resource" />
        ) : (
          <Empty title="There is no such resource" />
        )}
      </>
    );
  }
  return (
    <>
      <PageHead
        title={
          <>
            {resource.name} <Online resource={resource} />
          </>
        }
        back={back}
      >
        <a class="button" href={href("sessions", { resource: resource.name })}>
          Its sessions
        </a>
      </PageHead>
      <Facts
        items={[
          ["protocol", resource.protocol],
          ["connector", resource.connector],
          resource.database === undefined ? undefined : ["database", resource.database],
          [
            "labels",
            Object.keys(resource.labels).length === 0 ? "none" : <Labels labels={resource.labels} />,
          ],
          details.value === undefined ? undefined : ["detectors", details.value.detectors],
        ]}
      />
      {may("config:read") ? (
        <>
          <WhoMayDo resource={resource} />
          {details.problem !== undefined && <Failed problem={details.problem} retry={details.reload} />}
          {details.value !== undefined && resource.protocol === "postgres" && (
            <Masks details={details.value} />
          )}
        </>
      ) : (
        <p class="quiet">
          Who may do what here, and what is masked, is shown to whoever may read the configuration.
        </p>
      )}
    </>
  );
}

function Masks({ details }: { readonly details: ResourceDetails }): JSX.Element {
  return (
    <Section title="Masked columns">
      {details.masks.length === 0 ? (
        <Empty title="No column is masked" />
      ) : (
        <table class="list narrow">
          <thead>
            <tr>
              <th scope="col">Column</th>
              <th scope="col">Shown as</th>
            </tr>
          </thead>
          <tbody>
            {details.masks.map(({ column, mask }) => (
              <tr key={column}>
                <td data-label="Column">
                  <code>{column}</code>
                </td>
                <td data-label="Shown as">
                  <code>{mask}</code> <span class="quiet small">{MASKS[mask] ?? ""}</span>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {details.rows.length > 0 && (
        <>
          <h3>Rows shown</h3>
          <ul class="lines">
            {details.rows.map(({ relation, condition }) => (
              <li key={`${relation} ${condition}`}>
                <code>{relation}</code> <span class="grow">only where</span> <code>{condition}</code>
              </li>
            ))}
          </ul>
        </>
      )}
    </Section>
  );
}

const MASKS: Readonly<Record<string, string>> = {
  null: "always NULL",
  full: "nothing of it",
  last4: "its last four characters",
  first1: "its first character",
  email: "first letter and domain",
  hash: "a keyed hash, equal for equal values",
  date_year: "its year",
  round: "rounded",
  sql: "the administrator's own expression",
};

/** What is protected, whether it can be reached, what is masked in it, and who may do what, answered by policy. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { type Problem, may, post } from "../api/client.ts";
import { online } from "../api/live.ts";
import { useLoad } from "../api/load.ts";
import type { ListedResource, ResourceDetails, WhoMay } from "../api/types.ts";
import {
  EffectBadge,
  Empty,
  Facts,
  Failed,
  Loading,
  PageHead,
  Section,
  Time,
  Who,
  sentence,
} from "../components/parts.tsx";
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

const ACTIONS: Readonly<Record<string, readonly string[]>> = {
  postgres: [
    "select",
    "insert",
    "update",
    "delete",
    "truncate",
    "merge",
    "schema",
    "grant",
    "copy_program",
    "call",
    "session",
    "transaction",
    "lock",
    "maintenance",
  ],
  ssh: ["exec", "shell", "sftp_read", "sftp_write", "forward", "remote_forward"],
  http: ["read", "write"],
  kubernetes: [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "exec",
    "attach",
    "portforward",
  ],
};
const ADMIN = ["approval:decide", "session:replay", "session:watch", "session:kill"];

type Asked = { readonly action: string; readonly relation: string; readonly where: boolean };

function WhoMayDo({ resource }: { readonly resource: ListedResource }): JSX.Element {
  const { protocol } = resource;
  const actions = [...(ACTIONS[protocol] ?? []).map((verb) => `${protocol}:${verb}`), ...ADMIN];
  const [asked, setAsked] = useState<Asked>({
    action: protocol === "postgres" ? "postgres:delete" : (actions[0] ?? "approval:decide"),
    relation: "",
    where: true,
  });
  const [answer, setAnswer] = useState<{ readonly asked: Asked; readonly who: WhoMay }>();
  const [problem, setProblem] = useState<Problem>();
  const [busy, setBusy] = useState(false);
  const sql = asked.action.startsWith("postgres:");
  const conditional = asked.action === "postgres:delete" || asked.action === "postgres:update";
  const ask = async (): Promise<void> => {
    setBusy(true);
    const result = await post<WhoMay>("/v1/policy/who-may", {
      resource: resource.name,
      action: asked.action,
      ...(sql && asked.relation.trim() !== "" ? { relation: asked.relation.trim() } : {}),
      ...(conditional ? { where: asked.where } : {}),
    });
    setBusy(false);
    setProblem(result.ok ? undefined : result.error);
    if (result.ok) setAnswer({ asked, who: result.value });
  };
  return (
    <Section title="Who may do what">
      <form
        class="ask"
        onSubmit={(event) => {
          event.preventDefault();
          void ask();
        }}
      >
        <label class="field">
          Who can
          <select
            value={asked.action}
            onChange={(event) => setAsked({ ...asked, action: event.currentTarget.value })}
          >
            {actions.map((action) => (
              <option key={action} value={action}>
                {action}
              </option>
            ))}
          </select>
        </label>
        {sql && (
          <label class="field">
            relation (any, if empty)
            <input
              type="text"
              placeholder="public.customers"
              value={asked.relation}
              onInput={(event) => setAsked({ ...asked, relation: event.currentTarget.value })}
            />
          </label>
        )}
        {conditional && (
          <label class="check">
            <input
              type="checkbox"
              checked={asked.where}
              onChange={(event) => setAsked({ ...asked, where: event.currentTarget.checked })}
            />
            with a WHERE
          </label>
        )}
        <button type="submit" class="primary" disabled={busy}>
          Ask policy
        </button>
      </form>
      {problem !== undefined && <Failed problem={problem} />}
      {answer !== undefined && <Answers answer={answer} />}
    </Section>
  );
}

function Answers({
  answer,
}: {
  readonly answer: { readonly asked: Asked; readonly who: WhoMay };
}): JSX.Element {
  const { answers, notes } = answer.who;
  return (
    <div aria-live="polite">
      {answers.length === 0 ? (
        <Empty title={`Nobody may ${answer.asked.action}`}>
          No policy permits it to anybody who is known here.
        </Empty>
      ) : (
        <table class="list narrow">
          <thead>
            <tr>
              <th scope="col">Who</th>
              <th scope="col">{answer.asked.action}</th>
              <th scope="col">By policy</th>
            </tr>
          </thead>
          <tbody>
            {answers.map((each, index) => (
              <tr key={index}>
                <td data-label="Who">
                  {each.principal !== undefined ? (
                    <Who principal={each.principal} />
                  ) : (
                    <>
                      group <b>{each.group}</b>
                    </>
                  )}
                </td>
                <td data-label="Decision">
                  <EffectBadge effect={each.effect} />{" "}
                  {each.requirements?.map(({ policy, quorum, group }) => (
                    <span key={policy} class="small quiet">
                      {quorum} of {group}{" "}
                    </span>
                  ))}
                </td>
                <td data-label="By policy">
                  {each.policies.map((id) => (
                    <code key={id} class="policy-id">
                      {id}
                    </code>
                  ))}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {notes.map((note) => (
        <p key={note} class="small quiet">
          {sentence(note)}
        </p>
      ))}
    </div>
  );
}

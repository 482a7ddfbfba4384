/** "Who can delete here?", answered by policy. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import {
  HTTP_VERBS,
  KUBERNETES_VERBS,
  POSTGRES_VERBS,
  RESOURCE_ADMIN_VERBS,
  SSH_VERBS,
} from "../../policy/cedar/schema.ts";
import { type Problem, post } from "../api/client.ts";
import type { ListedResource, WhoMay } from "../api/types.ts";
import { EffectBadge, Empty, Failed, Section, Who, sentence } from "./parts.tsx";

const VERBS: Readonly<Record<string, readonly string[]>> = {
  postgres: POSTGRES_VERBS,
  ssh: SSH_VERBS,
  http: HTTP_VERBS,
  kubernetes: KUBERNETES_VERBS,
};

type Asked = { readonly action: string; readonly relation: string; readonly where: boolean };

export function WhoMayDo({ resource }: { readonly resource: ListedResource }): JSX.Element {
  const { protocol } = resource;
  const actions = [...(VERBS[protocol] ?? []).map((verb) => `${protocol}:${verb}`), ...RESOURCE_ADMIN_VERBS];
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

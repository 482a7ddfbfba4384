/** Would this person's statement pass, and by which policies? Asked of the running policies or of the draft. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { type Problem, identity, post } from "../api/client.ts";
import { useLoad } from "../api/load.ts";
import type { Configuration, Explanation, ListedResource } from "../api/types.ts";
import { Code } from "../components/code.tsx";
import { EffectBadge, Failed, Section, sentence } from "../components/parts.tsx";
import { draftFiles, isChanged } from "./policies-draft.ts";

export function TryView({ running }: { readonly running: Configuration }): JSX.Element {
  const resources = useLoad<{ readonly resources: readonly ListedResource[] }>("/v1/resources");
  const databases = resources.value?.resources.filter(({ protocol }) => protocol === "postgres") ?? [];
  const me = identity.value?.principal;
  const changed = isChanged(running);
  const [resource, setResource] = useState("");
  const [sql, setSql] = useState("delete from orders where id = 1");
  const [other, setOther] = useState(true);
  const [type, setType] = useState<"User" | "Workload">("User");
  const [issuer, setIssuer] = useState(me?.issuer ?? "");
  const [subject, setSubject] = useState("");
  const [groups, setGroups] = useState("engineers");
  const [useDraft, setUseDraft] = useState(true);
  const [answer, setAnswer] = useState<Explanation>();
  const [problem, setProblem] = useState<Problem>();
  const [busy, setBusy] = useState(false);
  const on = resource === "" ? (databases[0]?.name ?? "") : resource;

  const ask = async (): Promise<void> => {
    setBusy(true);
    const named = {
      type,
      issuer,
      subject: subject.trim() === "" ? "somebody" : subject.trim(),
      groups: groups
        .split(",")
        .map((each) => each.trim())
        .filter((each) => each !== ""),
    };
    const result = await post<Explanation>("/v1/policy/explain", {
      resource: on,
      sql,
      ...(other ? { principal: named } : {}),
      ...(changed && useDraft ? { files: draftFiles(running) } : {}),
    });
    setBusy(false);
    setProblem(result.ok ? undefined : result.error);
    setAnswer(result.ok ? result.value : undefined);
  };

  return (
    <div class="columns even">
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          void ask();
        }}
      >
        <Section title="Would this pass?">
          <label class="field">
            On
            <select value={on} onChange={(event) => setResource(event.currentTarget.value)}>
              {databases.map(({ name }) => (
                <option key={name} value={name}>
                  {name}
                </option>
              ))}
            </select>
          </label>
          <label class="field">
            Statement
            <textarea
              class="mono"
              rows={5}
              spellcheck={false}
              value={sql}
              onInput={(event) => setSql(event.currentTarget.value)}
            />
          </label>
          <fieldset>
            <legend>Sent by</legend>
            <label class="check">
              <input type="radio" name="by" checked={!other} onChange={() => setOther(false)} /> me (
              {me?.name})
            </label>
            <label class="check">
              <input type="radio" name="by" checked={other} onChange={() => setOther(true)} /> somebody with
              these groups
            </label>
            {other && (
              <div class="row wrap">
                <label class="field">
                  Groups, with commas
                  <input
                    type="text"
                    value={groups}
                    onInput={(event) => setGroups(event.currentTarget.value)}
                  />
                </label>
                <label class="field">
                  Kind
                  <select
                    value={type}
                    onChange={(event) => setType(event.currentTarget.value as typeof type)}
                  >
                    <option value="User">person</option>
                    <option value="Workload">workload</option>
                  </select>
                </label>
                <label class="field">
                  Subject (if a policy names one)
                  <input
                    type="text"
                    value={subject}
                    onInput={(event) => setSubject(event.currentTarget.value)}
                  />
                </label>
                <label class="field">
                  Issuer
                  <input
                    type="text"
                    value={issuer}
                    onInput={(event) => setIssuer(event.currentTarget.value)}
                  />
                </label>
              </div>
            )}
          </fieldset>
          {changed && (
            <label class="check">
              <input
                type="checkbox"
                checked={useDraft}
                onChange={(event) => setUseDraft(event.currentTarget.checked)}
              />
              by my changed policies, which are not applied yet
            </label>
          )}
          <button type="submit" class="primary" disabled={busy || on === ""}>
            Ask policy
          </button>
          <p class="small quiet">Nothing is sent to the database.</p>
        </Section>
      </form>
      <div aria-live="polite">
        {problem !== undefined && <Failed problem={problem} />}
        {answer !== undefined && <Answer answer={answer} />}
      </div>
    </div>
  );
}

function Answer({ answer }: { readonly answer: Explanation }): JSX.Element {
  return (
    <Section title="Policy says">
      <p class={`verdict ${answer.effect}`}>
        <EffectBadge effect={answer.effect} />
        {answer.requirements !== undefined &&
          answer.requirements.map(({ policy, quorum, group }) => (
            <span key={policy}>
              until {quorum} of <b>{group}</b> approve{quorum === 1 ? "s" : ""}
            </span>
          ))}
        {answer.refusal !== undefined && <span>{sentence(answer.refusal.message)}</span>}
      </p>
      {answer.refusal?.hint !== undefined && <p class="quiet">{sentence(answer.refusal.hint)}</p>}
      {answer.policies.length > 0 && (
        <>
          <h3>Determined by</h3>
          <ul class="plain">
            {answer.policies.map(({ id, reason }) => (
              <li key={id}>
                <code class="policy-id">{id}</code> {reason === undefined ? "" : sentence(reason)}
              </li>
            ))}
          </ul>
        </>
      )}
      {answer.actions.length > 0 && (
        <>
          <h3>What policy was told</h3>
          <ul class="plain">
            {answer.actions.map((action, index) => (
              <li key={index} class="told">
                <EffectBadge effect={action.effect} /> <b>{action.action}</b>{" "}
                {action.policies.map(({ id }) => (
                  <code key={id} class="policy-id">
                    {id}
                  </code>
                ))}
                <Code text={facts(action.facts)} protocol="facts" label={`facts of ${action.action}`} />
              </li>
            ))}
          </ul>
        </>
      )}
      {answer.rewritten !== undefined && (
        <>
          <h3>What the server would get</h3>
          <Code text={answer.rewritten} label="rewritten statement" />
        </>
      )}
      {answer.notes.map((note) => (
        <p key={note} class="small quiet">
          {sentence(note)}
        </p>
      ))}
    </Section>
  );
}

function facts(given: Readonly<Record<string, unknown>>): string {
  return Object.entries(given)
    .map(
      ([name, value]) =>
        `${name}: ${Array.isArray(value) ? value.join(", ") || "none" : JSON.stringify(value)}`,
    )
    .join("\n");
}

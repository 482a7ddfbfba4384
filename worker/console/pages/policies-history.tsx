/** Every version that ever ran, who applied it, what it would change now, and the way back to it. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { type Problem, get, loadIdentity, may, post } from "../api/client.ts";
import { useLoad } from "../api/load.ts";
import type { ConfigDiff, ConfigVersion, Configuration } from "../api/types.ts";
import { Failed, Loading, Time, Who } from "../components/parts.tsx";
import { ApplyDialog } from "./policies-edit.tsx";

export function HistoryView({
  running,
  onChanged,
}: {
  readonly running: Configuration;
  readonly onChanged: () => void;
}): JSX.Element {
  const list = useLoad<{ readonly versions: readonly ConfigVersion[] }>("/v1/config/versions?limit=100");
  const [compared, setCompared] = useState<{ readonly version: number; readonly difference: ConfigDiff }>();
  const [problem, setProblem] = useState<Problem>();
  const compare = async (version: number): Promise<void> => {
    const files = await get<Configuration>(`/v1/config/versions/${version}`);
    const answer = files.ok ? await post<ConfigDiff>("/v1/policy/diff", { files: files.value.files }) : files;
    setProblem(answer.ok ? undefined : answer.error);
    if (answer.ok) setCompared({ version, difference: answer.value });
  };
  return (
    <>
      {list.problem !== undefined && <Failed problem={list.problem} retry={list.reload} />}
      {problem !== undefined && <Failed problem={problem} />}
      {list.value === undefined && list.problem === undefined && <Loading what="the versions" />}
      {list.value !== undefined && (
        <table class="list">
          <thead>
            <tr>
              <th scope="col" class="number">
                Version
              </th>
              <th scope="col">Applied</th>
              <th scope="col">By</th>
              <th scope="col">Digest</th>
              <th scope="col">
                <span class="visually-hidden">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {list.value.versions.map(({ version, at, by, digest }) => (
              <tr key={version}>
                <td class="number" data-label="Version">
                  {version}
                </td>
                <td data-label="Applied">
                  <Time at={at} />
                </td>
                <td data-label="By">{by === "bootstrap" ? "the bootstrap token" : <Who principal={by} />}</td>
                <td data-label="Digest">
                  <code title={digest}>{digest.slice(0, 12)}</code>
                </td>
                <td class="row-actions">
                  {version === running.version ? (
                    <span class="badge allow">running</span>
                  ) : (
                    <button type="button" class="small" onClick={() => void compare(version)}>
                      {may("config:write") ? "Compare and roll back…" : "Compare…"}
                    </button>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {compared !== undefined && (
        <ApplyDialog
          title={`Go back to version ${compared.version}?`}
          action={may("config:write") ? "Roll back" : "Roll back (not allowed)"}
          difference={compared.difference}
          onClose={() => setCompared(undefined)}
          onApply={async () => {
            const answer = await post<{ version: number }>("/v1/config/rollback", {
              version: compared.version,
              ifVersion: compared.difference.version,
            });
            if (!answer.ok) return answer.error;
            setCompared(undefined);
            list.reload();
            onChanged();
            await loadIdentity();
            return undefined;
          }}
        />
      )}
    </>
  );
}

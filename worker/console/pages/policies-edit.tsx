/** Editing: errors at their line as one types, the difference before it is applied. */
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { type Problem, loadIdentity, may, post, put } from "../api/client.ts";
import type { ConfigDiff, ConfigError, Configuration } from "../api/types.ts";
import { DiffView } from "../components/diff.tsx";
import { Dialog } from "../components/dialog.tsx";
import { Editor } from "../components/editor.tsx";
import { Failed, sentence } from "../components/parts.tsx";
import { plural } from "../model/text.ts";
import { change, discard, discarded, draft, draftFiles, isChanged } from "./policies-draft.ts";

type Jump = { readonly path: string; readonly line: number; readonly column: number };

export function EditView({
  running,
  onApplied,
}: {
  readonly running: Configuration;
  readonly onApplied: () => void;
}): JSX.Element {
  const files = draftFiles(running);
  const paths = Object.keys(files).sort();
  const [chosen, setChosen] = useState<string>();
  const path =
    chosen !== undefined && chosen in files
      ? chosen
      : (paths.find((each) => each.endsWith(".cedar")) ?? paths[0] ?? "");
  const [errors, setErrors] = useState<readonly ConfigError[]>([]);
  const [checked, setChecked] = useState<"checking" | "ok" | "wrong" | "unknown">("unknown");
  const [problem, setProblem] = useState<Problem>();
  const [difference, setDifference] = useState<ConfigDiff>();
  const [jump, setJump] = useState<Jump>();
  const [applied, setApplied] = useState<number>();
  const writable = may("config:write");
  const changed = isChanged(running);
  const outdated = draft.value !== undefined && draft.value.from !== running.version;

  useEffect(() => {
    if (!changed) {
      setErrors([]);
      setChecked("unknown");
      return undefined;
    }
    setChecked("checking");
    let late = false;
    const timer = setTimeout(() => {
      void post<{ ok: true }>("/v1/policy/check", { files }).then((answer) => {
        if (late) return;
        setErrors(answer.ok ? [] : (answer.error.errors ?? []));
        setChecked(answer.ok ? "ok" : answer.error.errors === undefined ? "unknown" : "wrong");
        setProblem(answer.ok || answer.error.errors !== undefined ? undefined : answer.error);
      });
    }, 500);
    return () => {
      late = true;
      clearTimeout(timer);
    };
  }, [files, changed]);

  const compare = async (): Promise<void> => {
    const answer = await post<ConfigDiff>("/v1/policy/diff", { files });
    if (answer.ok) {
      setProblem(undefined);
      setDifference(answer.value);
    } else if (answer.error.errors === undefined) setProblem(answer.error);
    else setErrors(answer.error.errors);
  };

  return (
    <>
      {outdated && (
        <p class="banner hold" role="alert">
          Version {running.version} was applied while you edited version {draft.value?.from}. Look at the
          difference: it is against the running version.{" "}
          <button
            type="button"
            class="link"
            onClick={() =>
              draft.value !== undefined && (draft.value = { ...draft.value, from: running.version })
            }
          >
            I have seen it
          </button>
        </p>
      )}
      {applied !== undefined && !changed && (
        <p class="banner allow" role="status">
          Version {applied} is running. It decides the next operation of every session.
        </p>
      )}
      <div class="toolbar">
        <div class="segments" role="group" aria-label="files">
          {paths.map((each) => (
            <button key={each} type="button" aria-pressed={each === path} onClick={() => setChosen(each)}>
              {each}
              {files[each] !== running.files[each] && <span aria-label="changed"> •</span>}
            </button>
          ))}
        </div>
        <span class="grow" />
        <span class="small quiet" role="status">
          {!changed
            ? ""
            : checked === "checking"
              ? "checking…"
              : checked === "ok"
                ? "no errors"
                : errors.length > 0
                  ? plural(errors.length, "error")
                  : ""}
        </span>
        {changed && (
          <button type="button" class="quiet-button" onClick={discard}>
            Discard
          </button>
        )}
        {writable && (
          <button
            type="button"
            class="primary"
            disabled={!changed || checked !== "ok" || outdated}
            onClick={() => void compare()}
          >
            Review and apply…
          </button>
        )}
      </div>
      <Editor
        path={path}
        text={files[path] ?? ""}
        errors={errors.filter(({ file }) => file === path)}
        readOnly={!writable}
        reset={`${running.version} ${discarded.value}`}
        jump={jump?.path === path ? jump : undefined}
        onChange={(text) => change(running, path, text)}
      />
      {!writable && <p class="small quiet">You may read the configuration, not change it.</p>}
      {problem !== undefined && <Failed problem={problem} />}
      {errors.length > 0 && (
        <ul class="errors" role="alert">
          {errors.map((error) => (
            <li key={`${error.file}:${error.line}:${error.column}:${error.message}`}>
              <button
                type="button"
                class="link"
                onClick={() => {
                  setChosen(error.file);
                  setJump({ path: error.file, line: error.line, column: error.column });
                }}
              >
                {error.file}:{error.line}:{error.column}
              </button>{" "}
              {sentence(error.message)}
            </li>
          ))}
        </ul>
      )}
      {difference !== undefined && (
        <ApplyDialog
          difference={difference}
          onClose={() => setDifference(undefined)}
          onApply={async () => {
            const answer = await put<{ version: number }>(`/v1/config?if-version=${difference.version}`, {
              files,
            });
            if (!answer.ok) return answer.error;
            setDifference(undefined);
            discard();
            setApplied(answer.value.version);
            onApplied();
            await loadIdentity();
            return undefined;
          }}
        />
      )}
    </>
  );
}

/** The last look before something decides. */
export function ApplyDialog({
  difference,
  title = "Apply this to the gateway?",
  action = "Apply",
  onApply,
  onClose,
}: {
  readonly difference: ConfigDiff;
  readonly title?: string;
  readonly action?: string;
  readonly onApply: () => Promise<Problem | undefined>;
  readonly onClose: () => void;
}): JSX.Element {
  const [problem, setProblem] = useState<Problem>();
  const [busy, setBusy] = useState(false);
  return (
    <Dialog title={title} onClose={onClose}>
      {difference.changes.length > 0 && (
        <ul class="changes">
          {difference.changes.map((each) => (
            <li key={each}>{sentence(each)}</li>
          ))}
        </ul>
      )}
      <DiffView difference={difference} />
      {problem !== undefined && <Failed problem={problem} />}
      <div class="dialog-actions">
        <button type="button" onClick={onClose} data-focus>
          Cancel
        </button>
        <button
          type="button"
          class="primary"
          disabled={busy || difference.files.length === 0}
          onClick={() => {
            setBusy(true);
            void onApply().then((failed) => {
              setBusy(false);
              setProblem(failed);
            });
          }}
        >
          {action}
        </button>
      </div>
    </Dialog>
  );
}

/** A request as something a page can show: loading, ready or failed, loaded again when it failed for want of a network. */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { type Problem, get } from "./client.ts";

export type Loaded<T> = {
  /** The last answer; stays while it is asked for again. */
  readonly value?: T;
  readonly problem?: Problem;
  readonly loading: boolean;
  readonly reload: () => void;
};

/** GETs `path` now and whenever it changes; nothing while it is undefined. */
export function useLoad<T>(path: string | undefined): Loaded<T> {
  const [state, setState] = useState<{ path?: string; value?: T; problem?: Problem; loading: boolean }>({
    loading: path !== undefined,
  });
  const [turn, setTurn] = useState(0);
  const reload = useCallback(() => setTurn((before) => before + 1), []);
  const current = useRef(path);
  current.current = path;
  useEffect(() => {
    if (path === undefined) return undefined;
    const stop = new AbortController();
    setState((before) => (before.path === path ? { ...before, loading: true } : { path, loading: true }));
    void get<T>(path, stop.signal).then((answer) => {
      if (stop.signal.aborted || current.current !== path) return;
      setState((before) =>
        answer.ok
          ? { path, value: answer.value, loading: false }
          : { ...before, path, problem: answer.error, loading: false },
      );
    });
    return () => stop.abort();
  }, [path, turn]);
  const unreachable = state.problem?.status === 0;
  useEffect(() => {
    if (!unreachable) return undefined;
    const timer = setInterval(reload, 5000);
    addEventListener("online", reload);
    return () => {
      clearInterval(timer);
      removeEventListener("online", reload);
    };
  }, [unreachable, reload]);
  const { value, problem, loading } = state;
  return {
    ...(value === undefined ? {} : { value }),
    ...(problem === undefined ? {} : { problem }),
    loading,
    reload,
  };
}

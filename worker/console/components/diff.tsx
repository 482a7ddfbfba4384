/** What would change, line by line, with a few lines around it. */
import type { JSX } from "preact";
import type { ConfigDiff, DiffLine } from "../api/types.ts";
import { plural } from "../model/text.ts";

/** Unchanged lines shown around a change. */
const AROUND = 3;

export function DiffView({ difference }: { readonly difference: ConfigDiff }): JSX.Element {
  if (difference.files.length === 0)
    return <p class="quiet">There is no difference to the running version.</p>;
  return (
    <>
      {difference.files.map(({ path, change, lines }) => (
        <div key={path} class="diff">
          <p class="diff-head">
            <b>{path}</b> <span class="quiet small">{change}</span>
          </p>
          <div class="scroll" tabIndex={0} role="group" aria-label={`changes of ${path}`}>
            <table>
              <tbody>
                {folded(lines).map((each, index) =>
                  typeof each === "number" ? (
                    <tr key={index} class="fold">
                      <td colSpan={4}>{plural(each, "unchanged line")}</td>
                    </tr>
                  ) : (
                    <tr
                      key={index}
                      class={each.kind === "+" ? "added" : each.kind === "-" ? "removed" : undefined}
                    >
                      <td class="number">{each.before ?? ""}</td>
                      <td class="number">{each.after ?? ""}</td>
                      <td
                        aria-label={each.kind === "+" ? "added" : each.kind === "-" ? "removed" : "unchanged"}
                      >
                        {each.kind}
                      </td>
                      <td>{each.text}</td>
                    </tr>
                  ),
                )}
              </tbody>
            </table>
          </div>
        </div>
      ))}
    </>
  );
}

/** The lines, with long unchanged stretches as their number. */
function folded(lines: readonly DiffLine[]): readonly (DiffLine | number)[] {
  const near = lines.map((_, index) =>
    lines.slice(Math.max(0, index - AROUND), index + AROUND + 1).some(({ kind }) => kind !== " "),
  );
  const shown: (DiffLine | number)[] = [];
  lines.forEach((line, index) => {
    if (near[index]) shown.push(line);
    else if (typeof shown.at(-1) === "number") shown[shown.length - 1] = (shown.at(-1) as number) + 1;
    else shown.push(1);
  });
  return shown;
}

/** The columns that every table of sessions has: who, where, and what was decided. */
import type { JSX } from "preact";
import type { Session } from "../api/types.ts";
import { count } from "../model/text.ts";
import { Who } from "./parts.tsx";

export function WhoCell({
  session,
  waits = false,
}: {
  readonly session: Session;
  readonly waits?: boolean;
}): JSX.Element {
  return (
    <td data-label="Who">
      <Who principal={session.principal} />
      {waits && <span class="badge hold">waits</span>}
    </td>
  );
}

export function ResourceCell({ session }: { readonly session: Session }): JSX.Element {
  return (
    <td data-label="Resource">
      {session.resource} <span class="quiet small">{session.protocol}</span>
    </td>
  );
}

export function CountHeads(): JSX.Element {
  return (
    <>
      {["Operations", "Held", "Denied"].map((name) => (
        <th key={name} scope="col" class="number">
          {name}
        </th>
      ))}
    </>
  );
}

export function CountCells({ session }: { readonly session: Session }): JSX.Element {
  const { operations, held, denied } = session;
  return (
    <>
      <td class="number" data-label="Operations">
        {count(operations)}
      </td>
      <td class={`number${held > 0 ? " held" : ""}`} data-label="Held">
        {count(held)}
      </td>
      <td class={`number${denied > 0 ? " denied" : ""}`} data-label="Denied">
        {count(denied)}
      </td>
    </>
  );
}

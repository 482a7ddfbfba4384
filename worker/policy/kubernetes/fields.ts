/**
 * Fields of objects as masks name them: `data.*`, `spec.token`, `data["tls.crt"]`. A field is looked for at any
 * depth, because an object comes alone, in a list, in a table's row, in a watch's event and in an annotation.
 */
import type { FieldPattern } from "../../../wire/http/json-paths.ts";
import { foldKey } from "../../../wire/http/json-paths.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { type Result, err, ok } from "../../../wire/result.ts";

/** The error says what is wrong with the field. */
export function parseObjectField(text: string): Result<FieldPattern, string> {
  const step = /(?:^|\.)([^.[\]"]+)(?:\[\])*|\["((?:[^"\\]|\\["\\])+)"\](?:\[\])*/y;
  const steps: string[] = [];
  if (text.startsWith(".")) return err("has no name in front");
  while (step.lastIndex < text.length) {
    const match = step.exec(text);
    if (match === null) return err("has a step that cannot be read");
    steps.push(match[1] ?? (match[2] ?? "").replaceAll(/\\(["\\])/g, "$1"));
    if (steps.length > LIMITS.kubernetes.fieldSteps)
      return err(`has more than ${LIMITS.kubernetes.fieldSteps} steps`);
  }
  if (steps.length === 0) return err("is empty");
  if (steps[0] === "$") return err("begins with $, which has no meaning in a list or a watch");
  if (steps.every((each) => each === "*")) return err("names every field");
  return ok({ text, steps: { anywhere: true, steps: steps.map(foldKey) } });
}

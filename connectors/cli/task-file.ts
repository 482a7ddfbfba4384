/** A task as it stands in a file: one `authorization_details` object (RFC 9396) or several, in JSON. */
import { readFile } from "node:fs/promises";
import { z } from "zod";
import { type Result, ok } from "../../wire/result.ts";
import { type Failure, reasonOf, usage } from "./failure.ts";
import { parseJson } from "./http.ts";

const Details = z.union([z.array(z.looseObject({})).min(1), z.looseObject({})]);

/**
 * The text to send. The gateway checks what is in it; here only the form, and `type` may be left out. `parent`
 * is the task that it becomes part of.
 */
export async function readTaskFile(
  path: string,
  parent: string | undefined,
): Promise<Result<string, Failure>> {
  let text: string;
  try {
    text = await readFile(path === "-" ? "/dev/stdin" : path, "utf8");
  } catch (error) {
    return usage(`cannot read the task file ${path}: ${reasonOf(error)}`);
  }
  const parsed = Details.safeParse(parseJson(text));
  if (!parsed.success) {
    return usage(
      `${path} is not a task`,
      'it holds JSON such as { "resources": ["shop-db"], "actions": ["postgres:select"], "max_operations": 10 }',
    );
  }
  const objects = Array.isArray(parsed.data) ? parsed.data : [parsed.data];
  return ok(
    JSON.stringify(
      objects.map((object) => ({
        type: "sallyport",
        ...object,
        ...(parent === undefined ? {} : { parent }),
      })),
    ),
  );
}

/** Whether a word is a task's identifier and not the name of a file. */
export function isTaskId(word: string): boolean {
  return /^tsk_[0-9a-z]{26}$/.test(word);
}

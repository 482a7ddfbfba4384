/** `authorization_details` of type `sallyport` (RFC 9396): what a task may do. Pure. */
import { z } from "zod";
import { LIMITS } from "../../wire/limits.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import { TASK_FACTS, type TaskRight, type TaskTerms } from "../policy/task.ts";

export const DETAILS_TYPE = "sallyport";

/** What was asked for. A limit that is null was left out. */
export type TaskRequest = Omit<TaskTerms, "deadline"> & {
  readonly name: string;
  readonly deadline: number | null;
  /** The task that it is part of; else that of the subject's token, where it is for one. */
  readonly parent: string | undefined;
};

/** Either a new task, or another token for one that exists. */
export type DetailsRequest = { readonly start: TaskRequest } | { readonly task: string };

const visible = (most: number): z.ZodString =>
  z
    .string()
    .min(1)
    .max(most)
    .regex(/^[^\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]+$/u, "has invisible characters");
const taskId = z.string().regex(/^tsk_[0-9a-z]{26}$/, "is not a task");
const list = (item: z.ZodString) => z.array(item).min(1).max(LIMITS.tasks.values);
const budget = z.number().int().min(1).max(Number.MAX_SAFE_INTEGER);

const facts = Object.fromEntries(TASK_FACTS.map((fact) => [fact, list(visible(1024)).optional()])) as Record<
  (typeof TASK_FACTS)[number],
  z.ZodOptional<z.ZodArray<z.ZodString>>
>;

const Right = z.strictObject({
  type: z.literal(DETAILS_TYPE),
  resources: list(z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, "is not a resource's name")),
  actions: list(
    z.string().regex(/^([a-z]+:([a-z_]+|\*)|reveal)$/, "is not an action such as postgres:select"),
  ),
  ...facts,
  max_operations: budget.optional(),
  max_rows: budget.optional(),
  /** RFC 3339, or seconds from now. */
  deadline: z.iso.datetime({ offset: true }).optional(),
  expires_in: z
    .number()
    .int()
    .min(1)
    .max(LIMITS.time.task / 1000)
    .optional(),
  approval: z
    .strictObject({ group: visible(256), quorum: z.number().int().min(1).max(10).default(1) })
    .optional(),
  name: visible(LIMITS.tasks.name).optional(),
  parent: taskId.optional(),
});

const Details = z.array(Right).min(1).max(LIMITS.tasks.rights);
const Existing = z.tuple([
  z.strictObject({
    type: z.literal(DETAILS_TYPE),
    task: taskId,
  }),
]);

/**
 * Reads the JSON text of `authorization_details`; unknown members and types are refused, as RFC 9396 section
 * 5 demands. Limits may stand in any of the objects and bind the whole task: the strictest counts. `now` in
 * milliseconds since the epoch.
 */
export function parseAuthorizationDetails(text: string, now: number): Result<DetailsRequest, string> {
  if (text.length > LIMITS.tasks.details) return err(`has more than ${LIMITS.tasks.details} characters`);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return err("is not JSON");
  }
  const existing = Existing.safeParse(json);
  if (existing.success) return ok({ task: existing.data[0].task });
  const parsed = Details.safeParse(json);
  if (!parsed.success) return err(explain(parsed.error));
  const objects = parsed.data;
  const deadlines = objects.flatMap(({ deadline, expires_in: seconds }) => [
    ...(deadline === undefined ? [] : [Date.parse(deadline)]),
    ...(seconds === undefined ? [] : [now + seconds * 1000]),
  ]);
  const deadline = deadlines.length === 0 ? null : Math.min(...deadlines);
  if (deadline !== null && deadline <= now) return err("has a deadline that has passed");
  if (deadline !== null && deadline > now + LIMITS.time.task) {
    return err(`has a deadline more than ${LIMITS.time.task / 3_600_000} hours from now`);
  }
  return ok({
    start: {
      parent: objects.find(({ parent }) => parent !== undefined)?.parent,
      name: objects.find(({ name }) => name !== undefined)?.name ?? "",
      rights: objects.map(toRight),
      maxOperations: least(objects.map(({ max_operations: most }) => most)),
      maxRows: least(objects.map(({ max_rows: most }) => most)),
      deadline,
    },
  });
}

/** The same rights and limits as RFC 9396 objects, for answers. */
export function showDetails({ rights, maxOperations, maxRows, deadline }: TaskTerms): object[] {
  return rights.map((right) => ({
    type: DETAILS_TYPE,
    ...right,
    ...(maxOperations === null ? {} : { max_operations: maxOperations }),
    ...(maxRows === null ? {} : { max_rows: maxRows }),
    deadline: new Date(deadline).toISOString(),
  }));
}

function toRight(object: z.infer<typeof Right>): TaskRight {
  const { resources, actions, approval } = object;
  const given = TASK_FACTS.flatMap((fact) => (object[fact] === undefined ? [] : [[fact, object[fact]]]));
  return {
    resources,
    actions,
    ...Object.fromEntries(given),
    ...(approval === undefined ? {} : { approval }),
  };
}

function least(values: readonly (number | undefined)[]): number | null {
  const given = values.filter((value) => value !== undefined);
  return given.length === 0 ? null : Math.min(...given);
}

function explain(error: z.ZodError): string {
  const [issue] = error.issues;
  const where = issue === undefined || issue.path.length === 0 ? "" : `${issue.path.join(".")}: `;
  return `${where}${issue?.message ?? "is not as expected"}`;
}

/** Reads and checks the JSON body of a request to our API. */
import type { Context } from "hono";
import type { z } from "zod";
import { LIMITS } from "../../wire/limits.ts";
import { type Refusal, refusal } from "../../wire/refusals.ts";
import { type Result, err, ok } from "../../wire/result.ts";

/** The body as text, refused when it is over the limit, whatever its declared length. */
export async function readText(request: Request): Promise<Result<string, Refusal>> {
  const tooLarge = err(refusal("over_limit", `a request may have at most ${LIMITS.http.apiBody} bytes`));
  if (Number(request.headers.get("content-length") ?? 0) > LIMITS.http.apiBody) return tooLarge;
  if (request.body === null) return ok("");
  const reader = request.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return ok(text);
    text += value;
    if (text.length > LIMITS.http.apiBody) {
      await reader.cancel();
      return tooLarge;
    }
  }
}

/** The body as JSON of this shape; an empty body is `{}`. */
export async function readJson<T>(context: Context, schema: z.ZodType<T>): Promise<Result<T, Refusal>> {
  const text = await readText(context.req.raw);
  if (!text.ok) return text;
  let json: unknown;
  try {
    json = text.value === "" ? {} : JSON.parse(text.value);
  } catch {
    return err(refusal("request_invalid", "the body is not JSON"));
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return ok(parsed.data);
  const [issue] = parsed.error.issues;
  const where = issue === undefined || issue.path.length === 0 ? "the body" : issue.path.join(".");
  return err(refusal("request_invalid", `${where}: ${issue?.message ?? "not as expected"}`));
}

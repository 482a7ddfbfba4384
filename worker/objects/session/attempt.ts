import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err } from "../../../wire/result.ts";

/** A call between the gateway's own parts that failed is a refusal like any other, and is logged. */
export async function attempt<T>(call: Promise<Result<T, Refusal>>): Promise<Result<T, Refusal>> {
  try {
    return await call;
  } catch (error) {
    console.error(`a call within the gateway failed: ${error instanceof Error ? error.message : "unknown"}`);
    return err(refusal("internal", "a part of the gateway did not answer", { hint: "try again" }));
  }
}

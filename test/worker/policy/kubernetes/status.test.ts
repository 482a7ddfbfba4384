import { describe, expect, it } from "vitest";
import { displayUtf8 } from "../../../../wire/bytes.ts";
import { readEnvelope, readFields } from "../../../../wire/kubernetes/protobuf.ts";
import { refusal } from "../../../../wire/refusals.ts";
import { statusBody, statusOf } from "../../../../worker/policy/kubernetes/status.ts";

const HELD = refusal("approval_required", "delete pods/web waits for sre", {
  hint: "sally approvals show 7",
  approval: "7",
});
const ABOUT = { resource: "pods", group: "", name: "web" };

describe("a refusal as a Status", () => {
  it("is what kubectl prints", () => {
    expect(statusOf(HELD, ABOUT)).toEqual({
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      message: "sally: delete pods/web waits for sre\nhint: sally approvals show 7\napproval: 7",
      reason: "Forbidden",
      details: {
        name: "web",
        kind: "pods",
        causes: [
          { reason: "SallyportCode", message: "approval_required" },
          { reason: "SallyportHint", message: "sally approvals show 7" },
          { reason: "SallyportApproval", message: "7" },
        ],
      },
      code: 403,
    });
  });

  it.each([
    ["token_expired", 401, "Unauthorized"],
    ["request_invalid", 400, "BadRequest"],
    ["over_limit", 413, "RequestEntityTooLarge"],
    ["mask_written_back", 409, "Conflict"],
    ["connector_offline", 503, "ServiceUnavailable"],
    ["internal", 500, "InternalError"],
    // To client-go these would mean: list anew, and: it is gone.
    ["session_killed", 403, "Forbidden"],
    ["resource_unknown", 403, "Forbidden"],
    ["not_found", 404, "NotFound"],
  ] as const)("%s is %s %s", (code, status, reason) => {
    expect(statusOf(refusal(code, "x"))).toMatchObject({ code: status, reason });
  });

  it("is JSON for whoever takes it, and protobuf for whoever takes only that", () => {
    const status = statusOf(HELD, { ...ABOUT, group: "apps" });
    for (const accept of ["", "*/*", "application/json", "application/vnd.kubernetes.protobuf, */*"]) {
      const { type, bytes } = statusBody(status, accept);
      expect(type).toBe("application/json");
      expect(JSON.parse(displayUtf8(bytes))).toEqual(status);
    }
    const { type, bytes } = statusBody(status, "application/vnd.kubernetes.protobuf;stream=watch");
    expect(type).toBe("application/vnd.kubernetes.protobuf");
    const envelope = readEnvelope(bytes);
    if (!envelope.ok) throw new Error(envelope.error);
    expect(envelope.value).toMatchObject({ kind: "Status", apiVersion: "v1" });
    const fields = readFields(envelope.value.raw);
    if (!fields.ok) throw new Error(fields.error);
    const texts = fields.value.map(({ number, value }) => [
      number,
      typeof value === "number" ? value : displayUtf8(value),
    ]);
    expect(texts).toContainEqual([2, "Failure"]);
    expect(texts).toContainEqual([3, status.message]);
    expect(texts).toContainEqual([4, "Forbidden"]);
    expect(texts).toContainEqual([6, 403]);
  });
});

import { expect, it } from "vitest";
import { parseTarget } from "../../../../wire/http/target.ts";
import { requestInfo } from "../../../../worker/policy/kubernetes/request-info.ts";
import { requestText } from "../../../../worker/policy/kubernetes/request-text.ts";

function textOf(method: "GET" | "DELETE", raw: string, upgrade = false): string {
  const target = parseTarget(raw);
  if (!target.ok) throw new Error(target.error.message);
  const request = { method, target: target.value, headers: [], upgrade, hasBody: false };
  const info = requestInfo(request);
  if (!info.ok) throw new Error(info.error.message);
  return requestText(request, info.value);
}

const POD = "/api/v1/namespaces/shop/pods/orders-1";

it.each([
  [
    `${POD}/exec?command=sh&command=-c&command=id%3B+exit+7&container=orders&stdout=true`,
    "kubectl exec -n shop orders-1 -c orders -- sh -c 'id; exit 7'",
  ],
  [`${POD}/exec?command=ls&stdin=true&tty=true&ports=1`, "kubectl exec -n shop -it orders-1 -- ls"],
  // One word that looks like two, and two words, do not read the same.
  [`${POD}/exec?command=rm+-rf+/&stdout=true`, "kubectl exec -n shop orders-1 -- 'rm -rf /'"],
  [`${POD}/exec?command=rm&command=-rf&command=/`, "kubectl exec -n shop orders-1 -- rm -rf /"],
  [`${POD}/attach?stdin=true&container=orders`, "kubectl attach -n shop -i orders-1 -c orders"],
  [`${POD}/portforward?ports=8080,9090`, "kubectl port-forward -n shop orders-1 8080 9090"],
])("says what %s runs, as kubectl would be asked for it", (raw, text) => {
  expect(textOf("GET", raw, true)).toBe(text);
});

it("leaves everything else as it was asked", () => {
  expect(textOf("DELETE", `${POD}?dryRun=All`)).toBe(`DELETE ${POD}?dryRun=All`);
  expect(textOf("GET", "/api/v1/nodes/n1/proxy/run/shop/orders-1/orders?cmd=id")).toBe(
    "GET /api/v1/nodes/n1/proxy/run/shop/orders-1/orders?cmd=id",
  );
});

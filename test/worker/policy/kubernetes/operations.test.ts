import { beforeAll, describe, expect, it } from "vitest";
import { utf8 } from "../../../../wire/bytes.ts";
import type { HttpMethod } from "../../../../wire/http/open.ts";
import { parseTarget } from "../../../../wire/http/target.ts";
import { type PolicyEngine, createPolicyEngine } from "../../../../worker/policy/cedar/engine.ts";
import type { HttpRequest } from "../../../../worker/policy/http/operations.ts";
import { appliedMasks } from "../../../../worker/policy/kubernetes/masks.ts";
import { kubernetesNeedsBody, kubernetesOperation } from "../../../../worker/policy/kubernetes/operations.ts";
import { requestInfo } from "../../../../worker/policy/kubernetes/request-info.ts";
import type { Operation, Principal, Resource } from "../../../../worker/policy/types.ts";
import { testCedar } from "../../../support/cedar.ts";
import { inEnvelope, message } from "../../../support/protobuf.ts";

const ENGINEER: Principal = {
  type: "User",
  issuer: "https://id.example.com",
  subject: "ann",
  name: "ann",
  groups: ["engineers"],
};

const PROD: Resource = {
  name: "prod",
  protocol: "kubernetes",
  connector: "office",
  labels: { env: "production" },
  masks: [],
  rows: [],
  trustedFunctions: [],
  kubernetes: { masks: [] },
  detectors: "off",
  recordResultBytes: 0,
  heldInTransaction: 0,
};

type Options = {
  readonly type?: string;
  readonly body?: string | Uint8Array | object;
  readonly upgrade?: boolean;
  readonly reveals?: boolean;
};

function request(line: string, { type = "application/json", body, upgrade = false }: Options): HttpRequest {
  const [method = "", raw = ""] = line.split(" ");
  const target = parseTarget(raw);
  if (!target.ok) throw new Error(target.error.message);
  const headers = body === undefined ? [] : [["content-type", type] as const];
  return {
    method: method as HttpMethod,
    target: target.value,
    headers,
    upgrade,
    hasBody: body !== undefined,
  };
}

function bytesOf(body: Options["body"]): Uint8Array | undefined {
  if (body === undefined || body instanceof Uint8Array) return body;
  return utf8(typeof body === "string" ? body : JSON.stringify(body));
}

/** The operation, or the code of its refusal. */
function operation(line: string, options: Options = {}): Operation | string {
  const asked = request(line, options);
  const info = requestInfo(asked);
  const masks = info.ok ? appliedMasks({ masks: [] }, info.value, () => options.reveals === true) : [];
  const found = kubernetesOperation(asked, bytesOf(options.body), masks);
  return found.ok ? found.value : found.error.code;
}

const POLICIES = `
@id("find-your-way") permit (principal, action == Action::"kubernetes:discover", resource == Resource::"prod");
@id("read")
permit (principal in Group::"engineers", action in [Action::"kubernetes:get", Action::"kubernetes:list", Action::"kubernetes:watch"], resource == Resource::"prod")
when { context.resource != "" };
@id("write")
permit (principal in Group::"engineers", action in [Action::"kubernetes:create", Action::"kubernetes:update", Action::"kubernetes:patch"], resource == Resource::"prod");
@id("no-privileged-pods") @reason("pods on this cluster stay in their own namespaces")
forbid (principal, action in [Action::"kubernetes:create", Action::"kubernetes:update", Action::"kubernetes:patch"], resource == Resource::"prod")
when { context.resource != "configmaps" && (context.body.privileged || !context.body.hostNamespaces.isEmpty() || context.body.hostPaths.contains("/var/run/docker.sock")) };
@id("no-cluster-admin")
forbid (principal, action == Action::"kubernetes:create", resource == Resource::"prod")
when { context.resource == "clusterrolebindings" && context.body.roleRef == "ClusterRole/cluster-admin" };
@id("delete") @approval("sre")
permit (principal in Group::"engineers", action == Action::"kubernetes:delete", resource == Resource::"prod")
unless { context.dryRun };
@id("rehearse")
permit (principal, action == Action::"kubernetes:delete", resource == Resource::"prod")
when { context.dryRun };
@id("exec")
permit (principal in Group::"engineers", action == Action::"kubernetes:exec", resource == Resource::"prod")
when { context.namespace == "shop" && context.plain && !context.wrapper && context.program == "uptime" };
@id("proxy")
permit (principal in Group::"engineers", action == Action::"kubernetes:proxy", resource == Resource::"prod");
@id("not-over-the-kubelets-port")
forbid (principal, action == Action::"kubernetes:proxy", resource == Resource::"prod")
when { context.port == "10250" && context.method != "GET" };
@id("forward")
permit (principal in Group::"engineers", action == Action::"kubernetes:portforward", resource == Resource::"prod")
when { ["5432"].containsAll(context.ports) };
@id("everything-in-one")
forbid (principal in Group::"nobody", action in Action::"kubernetes", resource == Resource::"prod")
when { context.namespace == "kube-system" && context.group == "" && context.path like "/api/*" };
`;

let engine: PolicyEngine;
beforeAll(() => {
  engine = createPolicyEngine(testCedar());
  const loaded = engine.load(1, [{ file: "prod.cedar", text: POLICIES }]);
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.error));
});

/** The effect, with the code of a deny. */
function decided(line: string, options: Options = {}): string {
  const found = operation(line, options);
  if (typeof found === "string") return found;
  const decision = engine.decideOperation(ENGINEER, PROD, found);
  return decision.effect === "deny" ? decision.refusal.code : decision.effect;
}

const PODS = "/api/v1/namespaces/shop/pods";
const POD = `${PODS}/web`;
const SECRET = "/api/v1/namespaces/shop/secrets/db";

describe("decisions on requests to a cluster", () => {
  it.each<[string, string, Options?]>([
    ["GET /apis", "allow"],
    ["GET /openapi/v3", "allow"],
    ["GET /metrics", "no_policy_permits"],
    ["GET /logs/audit.log", "no_policy_permits"],
    [`GET ${POD}`, "allow"],
    [`GET ${PODS}?watch=1`, "allow"],
    [`GET ${POD}/log?follow=1`, "allow"],
    [`DELETE ${PODS}`, "no_policy_permits"],
    [`POST ${PODS}`, "allow", { body: { kind: "Pod", spec: { containers: [{ image: "nginx" }] } } }],
    [`POST ${PODS}`, "denied_by_policy", { body: { spec: { hostNetwork: true } } }],
    [
      `PATCH /apis/apps/v1/namespaces/shop/deployments/web`,
      "denied_by_policy",
      {
        type: "application/strategic-merge-patch+json",
        body: { spec: { template: { spec: { volumes: [{ hostPath: { path: "/var/run/docker.sock" } }] } } } },
      },
    ],
    [
      "POST /apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
      "denied_by_policy",
      { body: { roleRef: { kind: "ClusterRole", name: "cluster-admin" } } },
    ],
    [
      "POST /apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
      "allow",
      { body: { roleRef: { kind: "ClusterRole", name: "view" } } },
    ],
    // Exec by any method, and by the kubelet.
    [`GET ${POD}/exec?command=uptime`, "allow", { upgrade: true }],
    [`POST ${POD}/exec?command=uptime`, "allow"],
    [`GET ${POD}/exec?command=sh&command=-c&command=uptime`, "no_policy_permits", { upgrade: true }],
    [`GET ${POD}/exec?command=uptime`, "allow"],
    [
      "GET /api/v1/namespaces/kube-system/pods/dns/exec?command=uptime",
      "no_policy_permits",
      { upgrade: true },
    ],
    [`GET ${POD}/attach`, "no_policy_permits", { upgrade: true }],
    ["GET /api/v1/nodes/n1/proxy/pods", "no_policy_permits"],
    ["GET /api/v1/nodes/n1/proxy/run/shop/web/app?cmd=id", "no_policy_permits"],
    ["GET /api/v1/nodes/https:n1:10250/proxy/exec/shop/web/app", "no_policy_permits", { upgrade: true }],
    ["GET /api/v1/namespaces/shop/services/web:8080/proxy/", "allow"],
    ["POST /api/v1/namespaces/shop/services/web:10250/proxy/", "denied_by_policy", { body: "anything" }],
    [`GET ${POD}/portforward?ports=5432`, "allow", { upgrade: true }],
    [`GET ${POD}/portforward?ports=22`, "no_policy_permits", { upgrade: true }],
    [`GET ${POD}/portforward?ports=5432,22`, "no_policy_permits", { upgrade: true }],
    // A dry run is one when the server will take it for one.
    [`DELETE ${POD}`, "hold"],
    [`DELETE ${POD}?dryRun=All`, "allow"],
    [`DELETE ${POD}?dryRun=All`, "hold", { body: { propagationPolicy: "Background" } }],
    [`DELETE ${POD}`, "allow", { body: { dryRun: ["All"] } }],
    [`DELETE ${POD}?dryRun=All`, "hold", { body: "not JSON" }],
    [
      `DELETE ${POD}?dryRun=All`,
      "hold",
      { type: "application/vnd.kubernetes.protobuf", body: inEnvelope("DeleteOptions", message([1, 0])) },
    ],
    [
      `DELETE ${POD}`,
      "allow",
      { type: "application/vnd.kubernetes.protobuf", body: inEnvelope("DeleteOptions", message([5, "All"])) },
    ],
  ])("%s is %s %o", (line, expected, options) => {
    expect(decided(line, options)).toBe(expected);
  });
});

describe("a body that cannot be read", () => {
  const odd = { body: '{"spec":{"hostNetwork":true},"spec":{}}' };

  it("is denied where a policy needs what is in it", () => {
    expect(decided(`POST ${PODS}`, odd)).toBe("policy_error");
    expect(decided(`POST ${PODS}`, { type: "application/x", body: "?" })).toBe("policy_error");
  });

  it("passes where none does", () => {
    expect(decided("POST /api/v1/namespaces/shop/configmaps", odd)).toBe("allow");
  });

  it("is still an action of its group", () => {
    const grouped = createPolicyEngine(testCedar());
    const text = `permit (principal, action == Action::"kubernetes:create", resource == Resource::"prod");
forbid (principal, action in Action::"kubernetes", resource == Resource::"prod") when { context.namespace == "shop" };`;
    expect(grouped.load(1, [{ file: "a.cedar", text }]).ok).toBe(true);
    const code = (line: string): string => {
      const found = operation(line, odd);
      if (typeof found === "string") return found;
      const decision = grouped.decideOperation(ENGINEER, PROD, found);
      return decision.effect === "deny" ? decision.refusal.code : decision.effect;
    };
    expect(code(`POST ${PODS}`)).toBe("denied_by_policy");
    expect(code("POST /api/v1/namespaces/other/pods")).toBe("allow");
  });

  it("can be held by a policy that asks whether it could be read", () => {
    const held = createPolicyEngine(testCedar());
    const loaded = held.load(1, [
      {
        file: "a.cedar",
        text: `permit (principal, action == Action::"kubernetes:create", resource == Resource::"prod") when { context.bodyReadable && !context.body.privileged };
@approval("sre") permit (principal, action == Action::"kubernetes:create", resource == Resource::"prod") when { !context.bodyReadable };`,
      },
    ]);
    expect(loaded.ok).toBe(true);
    const effect = (body: object | string): string | undefined => {
      const found = operation(`POST ${PODS}`, { body });
      return typeof found === "string" ? found : held.decideOperation(ENGINEER, PROD, found).effect;
    };
    expect(effect({ spec: {} })).toBe("allow");
    expect(effect({ securityContext: { privileged: true } })).toBe("deny");
    expect(effect(odd.body)).toBe("hold");
  });

  it("is looked at for every change of an object, and for nothing else", () => {
    const body = {};
    for (const line of [`POST ${PODS}`, `PUT ${POD}`, `PATCH ${POD}`, `DELETE ${POD}`, `DELETE ${PODS}`])
      expect(kubernetesNeedsBody(request(line, { body }))).toBe(true);
    for (const line of ["POST /metrics", `POST ${POD}/proxy/x`, `GET ${POD}`, `POST ${POD}/exec?command=id`])
      expect(kubernetesNeedsBody(request(line, { body }))).toBe(false);
    expect(kubernetesNeedsBody(request(`POST ${PODS}`, {}))).toBe(false);
  });

  it("has no place in a request that reads or connects", () => {
    for (const line of [
      `GET ${POD}`,
      "GET /version",
      `POST ${POD}/exec?command=uptime`,
      `GET ${PODS}?watch=1`,
    ])
      expect(operation(line, { body: {} })).toBe("request_invalid");
  });
});

describe("facts", () => {
  it("have the words of a command in one form", () => {
    const found = operation(
      `GET ${POD}/exec?command=psql&command=-c&command=drop+table+x&container=app&tty=1&stdin=1`,
      {
        upgrade: true,
      },
    );
    expect(found).toEqual({
      actions: [
        {
          action: "kubernetes:exec",
          facts: {
            group: "",
            version: "v1",
            resource: "pods",
            subresource: "exec",
            namespace: "shop",
            name: "web",
            path: `${POD}/exec`,
            dryRun: false,
            container: "app",
            stdin: true,
            terminal: true,
            plain: true,
            command: "psql -c 'drop table x'",
            program: "psql",
            arguments: ["-c", "drop table x"],
            argumentCount: 2,
            wrapper: true,
          },
        },
      ],
      text: "kubectl exec -n shop -it web -c app -- psql -c 'drop table x'",
    });
  });

  it("count a request to a node's proxy as a proxy and as a program", () => {
    const found = operation("GET /api/v1/nodes/n1:10250/proxy/pods");
    if (typeof found === "string") throw new Error(found);
    expect(found.actions.map(({ action }) => action)).toEqual(["kubernetes:proxy", "kubernetes:exec"]);
    expect(found.actions.map(({ facts }) => facts)).toMatchObject([
      { name: "n1", port: "10250", method: "GET" },
      { name: "n1", plain: false, wrapper: true, terminal: true },
    ]);
  });

  it("of a body that is too much for a policy are over the limit", () => {
    const containers = Array.from({ length: 1_001 }, (_, index) => ({ image: `i:${index}` }));
    expect(decided(`POST ${PODS}`, { body: { spec: { containers } } })).toBe("statement_over_limit");
  });

  it("are said in words where something is refused", () => {
    const words = (line: string, options: Options = {}): string => {
      const found = operation(line, options);
      if (typeof found === "string") return found;
      const decision = engine.decideOperation(ENGINEER, PROD, found);
      return decision.effect === "deny" ? decision.refusal.message : decision.effect;
    };
    expect(words(`DELETE ${PODS}`)).toBe(
      "deletecollection pods in shop (prod) is denied: no policy permits kubernetes:deletecollection here",
    );
    expect(words(`POST ${PODS}`, { body: { spec: { hostPID: true } } })).toBe(
      "create pods in shop (prod) is denied: pods on this cluster stay in their own namespaces",
    );
    expect(words("GET /metrics")).toContain("a request to /metrics (prod) is denied");
    expect(words("DELETE /apis/apps/v1/namespaces/shop/deployments/web/status")).toBe("hold");
  });
});

describe("writes on what is masked", () => {
  const patch = (operations: object, reveals = false): Options => ({
    type: "application/json-patch+json",
    body: operations,
    reveals,
  });

  it.each<[string, object]>([
    ["a copy into a label", [{ op: "copy", from: "/data/password", path: "/metadata/labels/leak" }]],
    ["a move", [{ op: "move", from: "/data/password", path: "/metadata/annotations/leak" }]],
    ["a guess", [{ op: "test", path: "/data/password", value: "aHVudGVyMg==" }]],
    ["a guess at all of it", [{ op: "test", path: "", value: {} }]],
    ["a guess at an annotation", [{ op: "test", path: "/metadata/annotations", value: {} }]],
    ["an operation in another case", [{ op: "COPY", from: "/data/password", path: "/metadata/labels/leak" }]],
    ["no list", { op: "copy" }],
  ])("cannot look behind the mask with %s", (_, operations) => {
    expect(operation(`PATCH ${SECRET}`, patch(operations))).toBe("mask_reads_column");
  });

  it("cannot do so with a JSON patch that cannot be read", () => {
    const body = '[{"op":"add","op":"copy","from":"/data/password","path":"/metadata/labels/leak"}]';
    expect(operation(`PATCH ${SECRET}`, { type: "application/json-patch+json", body })).toBe(
      "mask_reads_column",
    );
  });

  it("may add, replace, remove and test what is not masked", () => {
    const operations = [
      { op: "test", path: "/metadata/resourceVersion", value: "5" },
      { op: "replace", path: "/data/password", value: "bmV3" },
      { op: "remove", path: "/data/old" },
    ];
    expect(typeof operation(`PATCH ${SECRET}`, patch(operations))).toBe("object");
  });

  it("may do anything for who may reveal, and on what is not masked", () => {
    const copy = [{ op: "copy", from: "/data/a", path: "/metadata/labels/b" }];
    expect(typeof operation(`PATCH ${SECRET}`, patch(copy, true))).toBe("object");
    expect(typeof operation("PATCH /api/v1/namespaces/shop/configmaps/c", patch(copy))).toBe("object");
  });

  it.each<[string, Options]>([
    ["what a mask showed", { body: { data: { password: btoa("****") } } }],
    ["what a mask showed, as text", { body: { stringData: { password: "****1111" } } }],
    [
      "what a mask showed, in YAML",
      { type: "application/apply-patch+yaml", body: `data:\n  password: ${btoa("a***@example.com")}\n` },
    ],
    [
      "what a mask showed, in protobuf",
      {
        type: "application/vnd.kubernetes.protobuf",
        body: inEnvelope(
          "Secret",
          message([
            2,
            [
              [1, "p"],
              [2, "****"],
            ],
          ]),
        ),
      },
    ],
    [
      "what a mask showed, in a JSON patch",
      patch([{ op: "add", path: "/data/password", value: btoa("****") }]),
    ],
    [
      "what a mask showed, in a JSON patch of all data",
      patch([{ op: "add", path: "/data", value: { p: btoa("****") } }]),
    ],
  ])("do not write back %s", (_, options) => {
    const line = options.type?.includes("patch") === true ? `PATCH ${SECRET}` : `PUT ${SECRET}`;
    expect(operation(line, options)).toBe("mask_written_back");
    expect(typeof operation(line, { ...options, reveals: true })).toBe("object");
  });

  it("write real values", () => {
    expect(
      typeof operation(`PUT ${SECRET}`, { body: { data: { password: "aHVudGVyMg==", stars: btoa("*x*") } } }),
    ).toBe("object");
  });
});

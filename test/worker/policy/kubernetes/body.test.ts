import { describe, expect, it } from "vitest";
import { concat, utf8 } from "../../../../wire/bytes.ts";
import { bodyFacts, isDryRun, readKubernetesBody } from "../../../../worker/policy/kubernetes/body.ts";
import type { KubernetesBodyFacts } from "../../../../worker/policy/types.ts";
import { cbor } from "../../../support/cbor.ts";
import { inEnvelope, message } from "../../../support/protobuf.ts";

const JSON_TYPE = "application/json";
const YAML = "application/yaml";
const CBOR = "application/cbor";
const PROTOBUF = "application/vnd.kubernetes.protobuf";
const JSON_PATCH = "application/json-patch+json";

const PODS = { verb: "create", resource: "pods", group: "", subresource: "" } as const;

/** Facts of a body that are not empty, or why it cannot be read. */
function facts(
  body: string | Uint8Array | object,
  type = JSON_TYPE,
  info: Parameters<typeof readKubernetesBody>[0] = PODS,
  encoding = "",
): Partial<KubernetesBodyFacts> | string {
  const bytes =
    body instanceof Uint8Array ? body : utf8(typeof body === "string" ? body : JSON.stringify(body));
  const value = readKubernetesBody(info, { type, encoding, bytes });
  if (!value.ok) return value.error;
  const found = bodyFacts(value.value, type);
  if (!found.ok) return found.error;
  return Object.fromEntries(
    Object.entries(found.value).filter(
      ([, each]) => !(each === "" || each === false || (Array.isArray(each) && each.length === 0)),
    ),
  );
}

const SPEC = {
  serviceAccountName: "deployer",
  hostNetwork: true,
  hostPID: true,
  initContainers: [{ name: "init", image: "busybox:1" }],
  containers: [
    {
      name: "app",
      image: "nginx:1",
      securityContext: { privileged: true, capabilities: { add: ["SYS_ADMIN"], drop: ["ALL"] } },
      env: [{ name: "P", valueFrom: { secretKeyRef: { name: "db", key: "password" } } }],
      envFrom: [{ secretRef: { name: "all" } }, { configMapRef: { name: "c" } }],
    },
  ],
  ephemeralContainers: [{ name: "debug", image: "alpine:3" }],
  volumes: [
    { name: "sock", hostPath: { path: "/var/run//docker.sock/" } },
    { name: "s", secret: { secretName: "tls" } },
    { name: "p", projected: { sources: [{ secret: { name: "projected" } }] } },
  ],
};
const FOUND = {
  kind: "Pod",
  privileged: true,
  hostNamespaces: ["network", "pid"],
  hostPaths: ["/var/run/docker.sock"],
  images: ["busybox:1", "nginx:1", "alpine:3"],
  capabilities: ["SYS_ADMIN"],
  serviceAccounts: ["deployer"],
  secrets: ["db", "all", "tls", "projected"],
};
const sorted = (found: Partial<KubernetesBodyFacts> | string): unknown =>
  typeof found === "string"
    ? found
    : Object.fromEntries(
        Object.entries(found).map(([key, value]) => [key, Array.isArray(value) ? new Set(value) : value]),
      );

/** A pod like SPEC with the field numbers of core/v1/generated.proto. */
const CONTAINER = message(
  [1, "app"],
  [2, "nginx:1"],
  [
    7,
    [
      [1, "P"],
      [
        3,
        [
          [
            4,
            [
              [1, [[1, "db"]]],
              [2, "password"],
            ],
          ],
        ],
      ],
    ],
  ],
  [
    15,
    [
      [
        1,
        [
          [1, "SYS_ADMIN"],
          [2, "ALL"],
        ],
      ],
      [2, true],
    ],
  ],
  [19, [[3, [[1, [[1, "all"]]]]]]],
);
const POD_SPEC = message(
  [
    1,
    [
      [1, "sock"],
      [2, [[1, [[1, "/var/run//docker.sock/"]]]]],
    ],
  ],
  [
    1,
    [
      [1, "s"],
      [2, [[6, [[1, "tls"]]]]],
    ],
  ],
  [
    1,
    [
      [1, "p"],
      [2, [[26, [[1, [[1, [[1, [[1, "projected"]]]]]]]]]]],
    ],
  ],
  [2, CONTAINER],
  [8, "deployer"],
  [11, true],
  [12, true],
  [13, false],
  [
    20,
    [
      [1, "init"],
      [2, "busybox:1"],
    ],
  ],
  [
    34,
    [
      [
        1,
        [
          [1, "debug"],
          [2, "alpine:3"],
        ],
      ],
    ],
  ],
);
const POD = message([1, [[1, "web"]]], [2, POD_SPEC]);

describe("what a pod asks for", () => {
  it("is found in JSON", () => {
    expect(sorted(facts({ kind: "Pod", spec: SPEC }))).toEqual(sorted(FOUND));
  });

  it("is found in YAML", () => {
    const yaml = `# a pod
kind: Pod
spec:
  serviceAccountName: deployer
  hostNetwork: true
  hostPID: yes
  initContainers: [{name: init, image: "busybox:1"}]
  containers:
  - name: app
    image: 'nginx:1'
    securityContext: {privileged: on, capabilities: {add: [SYS_ADMIN], drop: [ALL]}}
    env: [{name: P, valueFrom: {secretKeyRef: {name: db, key: password}}}]
    envFrom: [{secretRef: {name: all}}]
  ephemeralContainers: [{name: debug, image: "alpine:3"}]
  volumes:
  - name: sock
    hostPath:
      path: /var/run/./docker.sock
  - {name: s, secret: {secretName: tls}}
  - {name: p, projected: {sources: [{secret: {name: projected}}]}}
`;
    expect(sorted(facts(yaml, YAML))).toEqual(sorted(FOUND));
  });

  it("is found in protobuf", () => {
    expect(sorted(facts(inEnvelope("Pod", POD), PROTOBUF))).toEqual(sorted(FOUND));
    expect(sorted(facts(inEnvelope("", POD), PROTOBUF))).toEqual(sorted(FOUND));
  });

  it("is found in CBOR, whose texts may be byte strings", () => {
    for (const text of [3, 2] as const)
      expect(sorted(facts(cbor({ kind: "Pod", spec: SPEC }, text), CBOR))).toEqual(sorted(FOUND));
  });

  it("is what the API server makes of tagged bytes in CBOR", () => {
    const tagged = (tag: number, length: number): unknown =>
      facts(
        concat([Uint8Array.of(0xa1, 0x65), utf8("image"), Uint8Array.of(0xc0 | tag, length), utf8("evil")]),
        CBOR,
      );
    expect(tagged(21, 0x44)).toEqual({ images: ["ZXZpbA"] });
    expect(tagged(22, 0x44)).toEqual({ images: ["ZXZpbA=="] });
    // Hexadecimal, a number, and base64 of a text.
    expect(tagged(23, 0x44)).toBe("unsupported");
    expect(tagged(2, 0x44)).toBe("unsupported");
    expect(tagged(22, 0x64)).toBe("unsupported");
    expect(tagged(22, 0x45)).toBe("malformed");
  });

  it.each([
    [
      "deployments",
      "apps",
      "Deployment",
      { spec: { template: { spec: SPEC } } },
      message([2, [[3, [[2, POD_SPEC]]]]]),
    ],
    [
      "statefulsets",
      "apps",
      "StatefulSet",
      { spec: { template: { spec: SPEC } } },
      message([2, [[3, [[2, POD_SPEC]]]]]),
    ],
    [
      "replicasets",
      "apps",
      "ReplicaSet",
      { spec: { template: { spec: SPEC } } },
      message([2, [[3, [[2, POD_SPEC]]]]]),
    ],
    [
      "daemonsets",
      "apps",
      "DaemonSet",
      { spec: { template: { spec: SPEC } } },
      message([2, [[2, [[2, POD_SPEC]]]]]),
    ],
    [
      "replicationcontrollers",
      "",
      "ReplicationController",
      { spec: { template: { spec: SPEC } } },
      message([2, [[3, [[2, POD_SPEC]]]]]),
    ],
    ["podtemplates", "", "PodTemplate", { template: { spec: SPEC } }, message([2, [[2, POD_SPEC]]])],
    ["jobs", "batch", "Job", { spec: { template: { spec: SPEC } } }, message([2, [[6, [[2, POD_SPEC]]]]])],
    [
      "cronjobs",
      "batch",
      "CronJob",
      { spec: { jobTemplate: { spec: { template: { spec: SPEC } } } } },
      message([2, [[5, [[2, [[6, [[2, POD_SPEC]]]]]]]]]),
    ],
  ])("is found in %s, in JSON and in protobuf alike", (resource, group, kind, object, raw) => {
    const info = { ...PODS, resource, group };
    const expected = sorted({ ...FOUND, kind });
    expect(sorted(facts({ kind, ...object }, JSON_TYPE, info))).toEqual(expected);
    expect(sorted(facts(inEnvelope(kind, raw), PROTOBUF, info))).toEqual(expected);
  });

  it("is found in custom resources and in patches that begin anywhere", () => {
    expect(
      facts({ kind: "Rollout", spec: { strategy: { canary: { template: { spec: { hostIPC: true } } } } } }),
    ).toEqual({
      kind: "Rollout",
      hostNamespaces: ["ipc"],
    });
    const patch = {
      spec: { template: { spec: { containers: [{ name: "a", image: "evil:1", $patch: "merge" }] } } },
    };
    for (const type of [
      "application/merge-patch+json",
      "application/strategic-merge-patch+json",
      "application/apply-patch+yaml",
    ])
      expect(facts(patch, type)).toEqual({ images: ["evil:1"] });
  });

  it("is found where a JSON patch puts it", () => {
    expect(
      facts(
        [
          { op: "test", path: "/metadata/resourceVersion", value: "1" },
          { op: "add", path: "/spec/containers/0/securityContext/privileged", value: true },
          { op: "replace", path: "/spec/volumes/1/hostPath/path", value: "/etc" },
          { op: "add", path: "/spec/containers/0/securityContext/capabilities/add/-", value: "NET_ADMIN" },
          { op: "add", path: "/spec/containers/-", value: { image: "evil:1" } },
          { op: "replace", path: "/spec/hostNetwork", value: true },
          { op: "add", path: "/spec/template/metadata/annotations/a~1b", value: "x" },
          { op: "remove", path: "/spec/nodeName" },
        ],
        JSON_PATCH,
      ),
    ).toEqual({
      privileged: true,
      hostPaths: ["/etc"],
      capabilities: ["NET_ADMIN"],
      images: ["evil:1"],
      hostNamespaces: ["network"],
    });
  });

  it.each(["-", "0", "7", "-1", "+1", "01"])("is found at the index %s of a list", (index) => {
    const path = `/spec/containers/${index}/securityContext/capabilities/add/${index}`;
    expect(facts([{ op: "add", path, value: "SYS_ADMIN" }], JSON_PATCH)).toEqual({
      capabilities: ["SYS_ADMIN"],
    });
  });

  it("includes a Windows host process, a node's volume and an image volume", () => {
    expect(facts({ spec: { securityContext: { windowsOptions: { hostProcess: true } } } })).toEqual({
      privileged: true,
    });
    expect(facts({ spec: { local: { path: "/mnt/../etc" } } })).toEqual({ hostPaths: ["/etc"] });
    expect(facts({ spec: { volumes: [{ image: { reference: "evil:2" } }] } })).toEqual({
      images: ["evil:2"],
    });
  });

  it("is nothing where the words stand in text", () => {
    expect(facts({ kind: "ConfigMap", data: { x: '{"privileged": true, "hostNetwork": true}' } })).toEqual({
      kind: "ConfigMap",
    });
    expect(
      facts({
        spec: { containers: [{ args: ["privileged", "hostPath"], securityContext: { privileged: false } }] },
      }),
    ).toEqual({});
  });
});

describe("the role that a binding gives", () => {
  const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "cluster-admin" };
  const info = { ...PODS, resource: "clusterrolebindings", group: "rbac.authorization.k8s.io" };

  it("is a fact", () => {
    const expected = { kind: "ClusterRoleBinding", roleRef: "ClusterRole/cluster-admin" };
    expect(facts({ kind: "ClusterRoleBinding", roleRef }, JSON_TYPE, info)).toEqual(expected);
    const raw = message(
      [2, [[2, "eve"]]],
      [
        3,
        [
          [1, roleRef.apiGroup],
          [2, roleRef.kind],
          [3, roleRef.name],
        ],
      ],
    );
    expect(facts(inEnvelope("ClusterRoleBinding", raw), PROTOBUF, info)).toEqual(expected);
  });

  it("is one role", () => {
    expect(facts({ a: { roleRef: { kind: "Role", name: "x" } }, b: { roleRef } })).toBe("duplicate");
  });
});

describe("what cannot be read without doubt is unreadable", () => {
  it.each([
    // Go decodes the second object into the first: both fields are there.
    ["a JSON key twice", JSON_TYPE, '{"spec":{"hostNetwork":true},"spec":{"hostPID":true}}', "duplicate"],
    [
      "a JSON key twice, once escaped",
      JSON_TYPE,
      '{"spec":{"hostNetwork":true},"sp\\u0065c":{}}',
      "duplicate",
    ],
    ["a JSON key twice deep inside", JSON_TYPE, '{"a":[{"b":{"c":1,"c":2}}]}', "duplicate"],
    ["comments in JSON", JSON_TYPE, '{"a":1 /* x */}', "malformed"],
    ["a trailing comma", JSON_TYPE, '{"a":1,}', "malformed"],
    ["single quotes", JSON_TYPE, "{'a':1}", "malformed"],
    ["two JSON texts", JSON_TYPE, '{"a":1}{"hostNetwork":true}', "malformed"],
    ["JSON cut short", JSON_TYPE, '{"a":{"b":1}', "malformed"],
    ["a control character in a string", JSON_TYPE, '{"a":"\u0001"}', "malformed"],
    ["a byte order mark", JSON_TYPE, '\uFEFF{"a":1}', "malformed"],
    ["JSON nested too deeply", JSON_TYPE, "[".repeat(300) + "]".repeat(300), "over_limit"],
    ["YAML under JSON's name", JSON_TYPE, "a: 1", "malformed"],
    ["a YAML anchor", YAML, "a: &x {hostNetwork: true}\nspec: *x\n", "unsupported"],
    ["a YAML merge key", YAML, "base: {a: 1}\n<<: {hostNetwork: true}\n", "unsupported"],
    [
      "a second YAML document",
      YAML,
      "kind: ConfigMap\n---\nkind: Pod\nspec: {hostNetwork: true}\n",
      "malformed",
    ],
    ["a YAML key twice", YAML, "spec: {a: 1}\nspec: {hostNetwork: true}\n", "duplicate"],
    ["a YAML key twice, once quoted", YAML, "spec: {a: 1}\n'spec': {hostNetwork: true}\n", "duplicate"],
    ["a YAML tag", YAML, "spec: !!map {hostNetwork: true}\n", "unsupported"],
    ["a YAML directive", YAML, "%YAML 1.2\n---\na: 1\n", "unsupported"],
    ["a YAML key that is no text", YAML, "? [a, b]\n: 1\n", "unsupported"],
    ["a line that only YAML 1.1 sees", YAML, "# harmless\u2028spec: {hostNetwork: true}\n", "unsupported"],
    ["another such line", YAML, "# harmless\u0085spec: {hostNetwork: true}\n", "unsupported"],
    ["a carriage return alone", YAML, "# harmless\rspec: {hostNetwork: true}\n", "unsupported"],
    ["YAML nested too deeply", YAML, `${"[".repeat(400)}${"]".repeat(400)}`, "over_limit"],
    ["YAML bombs", YAML, "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "unsupported"],
    ["JSON with a key twice under YAML's name", YAML, '{"spec":{"hostNetwork":true},"spec":{}}', "duplicate"],
    [
      "a JSON patch that copies",
      JSON_PATCH,
      '[{"op":"copy","from":"/spec/tty","path":"/spec/x"}]',
      "unsupported",
    ],
    [
      "a JSON patch that moves",
      JSON_PATCH,
      '[{"op":"move","from":"/spec/tty","path":"/spec/x"}]',
      "unsupported",
    ],
    [
      "a JSON patch with a strange operation",
      JSON_PATCH,
      '[{"op":"Add","path":"/x","value":1}]',
      "unsupported",
    ],
    ["a JSON patch without a path", JSON_PATCH, '[{"op":"add","value":1}]', "malformed"],
    ["a JSON patch that is an object", JSON_PATCH, "{}", "malformed"],
    ["an unknown type", "application/x-www-form-urlencoded", "a=1", "unsupported"],
  ])("%s", (_, type, body, why) => {
    expect(facts(body, type)).toBe(why);
  });

  it("text that is not UTF-8", () => {
    expect(facts(Uint8Array.of(0x22, 0xc0, 0xae, 0x22))).toBe("malformed");
    // YAML may be UTF-16.
    expect(facts(Uint8Array.of(0xff, 0xfe, 0x61, 0x00, 0x3a, 0x00), YAML)).toBe("malformed");
  });

  it("a compressed body", () => {
    expect(facts({}, JSON_TYPE, PODS, "gzip")).toBe("unsupported");
    expect(facts({}, JSON_TYPE, PODS, "identity")).toEqual({});
  });

  it("much YAML, and a body over what the API server takes", () => {
    expect(facts(`a: ${"x".repeat(256 << 10)}`, YAML)).toBe("over_limit");
    expect(facts(JSON.stringify("x".repeat(3 << 20)))).toBe("over_limit");
  });

  it.each<[string, Uint8Array]>([
    ["without the envelope", POD],
    [
      "with another envelope",
      concat([Uint8Array.of(0x6b, 0x38, 0x73, 0x01), inEnvelope("Pod", POD).subarray(4)]),
    ],
    ["with a kind that the path does not have", inEnvelope("ConfigMap", POD)],
    ["with its spec twice", inEnvelope("Pod", concat([POD, message([2, message([11, true])])]))],
    [
      "with the object twice in the envelope",
      concat([inEnvelope("Pod", POD), message([2, message([2, [[11, true]]])])]),
    ],
    ["with the kind twice in the envelope", concat([inEnvelope("Pod", POD), message([1, [[2, "Pod"]]])])],
    [
      "with another type in the envelope",
      concat([Uint8Array.of(0x6b, 0x38, 0x73, 0), message([2, POD], [4, "application/json"])]),
    ],
    [
      "with an encoding in the envelope",
      concat([Uint8Array.of(0x6b, 0x38, 0x73, 0), message([2, POD], [3, "gzip"])]),
    ],
    ["with a length beyond the end", inEnvelope("Pod", concat([POD, Uint8Array.of(0x12, 0x7f, 0x01)]))],
    [
      "with a length of 2^63",
      inEnvelope("Pod", concat([POD, Uint8Array.of(0x12, 255, 255, 255, 255, 255, 255, 255, 255, 127)])),
    ],
    ["cut in the middle", inEnvelope("Pod", POD).subarray(0, 60)],
    ["cut in a tag", inEnvelope("Pod", concat([POD, Uint8Array.of(0x92)]))],
    // int32(tag >> 3) in Go: 2^32 + 2 is field 2 there.
    [
      "with a tag of more than 32 bits",
      inEnvelope("Pod", concat([POD, Uint8Array.of(0x92, 0x80, 0x80, 0x80, 0x80, 0x10, 0x00)])),
    ],
    [
      "with a tag that is longer than it has to be",
      inEnvelope("Pod", concat([POD, Uint8Array.of(0x92, 0x00, 0x00)])),
    ],
    ["with field 0", inEnvelope("Pod", concat([POD, Uint8Array.of(0x02, 0x00)]))],
    ["with a group", inEnvelope("Pod", concat([POD, Uint8Array.of(0x13, 0x14)]))],
    ["with a number where a message belongs", inEnvelope("Pod", message([2, 5]))],
    ["with a text where a number belongs", inEnvelope("Pod", message([2, [[11, "x"]]]))],
    ["with an image that is not UTF-8", inEnvelope("Pod", message([2, [[2, [[2, Uint8Array.of(0xff)]]]]]))],
    [
      "with an annotation twice",
      inEnvelope(
        "Pod",
        message([
          1,
          [
            [
              12,
              [
                [1, "a"],
                [2, "x"],
              ],
            ],
            [
              12,
              [
                [1, "a"],
                [2, "y"],
              ],
            ],
          ],
        ]),
      ),
    ],
  ])("protobuf %s", (_, bytes) => {
    expect(typeof facts(bytes, PROTOBUF)).toBe("string");
  });

  it("protobuf of a resource whose fields nobody here knows", () => {
    const info = { ...PODS, resource: "widgets", group: "example.com" };
    expect(facts(inEnvelope("Widget", message([1, "x"])), PROTOBUF, info)).toBe("unsupported");
  });

  it.each<[string, readonly number[]]>([
    ["with an indefinite length", [0xbf, 0x61, 0x61, 0x01, 0xff]],
    ["with an indefinite text", [0xa1, 0x7f, 0x61, 0x61, 0xff, 0x01]],
    ["with a key twice", [0xa2, 0x61, 0x61, 0x01, 0x61, 0x61, 0x02]],
    ["with a key twice, as text and as bytes", [0xa2, 0x61, 0x61, 0x01, 0x41, 0x61, 0x02]],
    ["with a number for a key", [0xa1, 0x01, 0x01]],
    ["with a tag", [0xc1, 0x01]],
    ["with a tag inside that only the outside may have", [0x81, 0xd9, 0xd9, 0xf7, 0x01]],
    ["with a length beyond the end", [0x9a, 0xff, 0xff, 0xff, 0xff]],
    ["with a map's length beyond the end", [0xba, 0xff, 0xff, 0xff, 0xff]],
    ["with a text's length beyond the end", [0x7a, 0x7f, 0xff, 0xff, 0xff, 0x61]],
    ["with a length of 2^64", [0x5b, 255, 255, 255, 255, 255, 255, 255, 255]],
    ["cut short", [0xa1, 0x61]],
    ["with something behind it", [0x01, 0x01]],
    ["with undefined", [0xf7]],
    ["with a simple value", [0xf8, 0x20]],
    ["with a text that is not UTF-8", [0x61, 0xff]],
    ["nested too deeply", [...Array.from({ length: 300 }, () => 0x81), 0x01]],
    ["with a reserved length", [0x1c]],
    ["of nothing", []],
  ])("CBOR %s", (_, bytes) => {
    expect(typeof facts(Uint8Array.from(bytes), CBOR)).toBe("string");
  });
});

describe("unknown fields in protobuf", () => {
  it("are passed over, as the API server does", () => {
    const raw = concat([message([99, "x"], [98, 7]), POD, message([97, [[1, "y"]]])]);
    expect(sorted(facts(inEnvelope("Pod", raw), PROTOBUF))).toEqual(sorted(FOUND));
  });

  it("of kinds in which there is nothing to look at say nothing", () => {
    const info = { ...PODS, resource: "services" };
    expect(facts(inEnvelope("Service", message([2, [[1, "x"]]])), PROTOBUF, info)).toEqual({
      kind: "Service",
    });
  });
});

describe("the options of a delete", () => {
  const info = { ...PODS, verb: "delete" } as const;
  const dryRun = (body: string | Uint8Array, type = JSON_TYPE): boolean | string => {
    const bytes = typeof body === "string" ? utf8(body) : body;
    const value = readKubernetesBody(info, { type, encoding: "", bytes });
    return value.ok ? isDryRun(value.value) : value.error;
  };

  it("make it a dry run or not", () => {
    expect(dryRun('{"dryRun":["All"]}')).toBe(true);
    expect(dryRun('{"propagationPolicy":"Background"}')).toBe(false);
    expect(dryRun('{"dryRun":[]}')).toBe(false);
    expect(dryRun('{"dryRun":"All"}')).toBe(false);
    expect(dryRun('{"dryRun":["all"]}')).toBe(false);
    expect(dryRun(inEnvelope("DeleteOptions", message([1, 0], [5, "All"])), PROTOBUF)).toBe(true);
    expect(dryRun(inEnvelope("DeleteOptions", message([1, 0])), PROTOBUF)).toBe(false);
    expect(dryRun('{"dryRun":["All"],"dryRun":[]}')).toBe("duplicate");
  });
});

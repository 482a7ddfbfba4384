/**
 * What the gateway makes of requests, bodies and answers, held against a real kube-apiserver: its audit log says what
 * it took a request for, a dry run what it read in a body, and it has to be able to read what was masked.
 */
import { request as httpsRequest } from "node:https";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { concat, displayUtf8, readUint32, utf8 } from "../../../../wire/bytes.ts";
import type { HttpMethod } from "../../../../wire/http/open.ts";
import { parseTarget } from "../../../../wire/http/target.ts";
import { readEnvelope, readFields } from "../../../../wire/kubernetes/protobuf.ts";
import { bodyFacts, readKubernetesBody } from "../../../../worker/policy/kubernetes/body.ts";
import { type RequestInfo, requestInfo } from "../../../../worker/policy/kubernetes/request-info.ts";
import type { KubernetesBodyFacts } from "../../../../worker/policy/types.ts";
import { JSON_TYPE, PROTOBUF, answer } from "../../../support/kubernetes-answer.ts";
import { type TestCluster, missingForReal, startCluster } from "../../../support/kubernetes/cluster.ts";
import { ODD_BODIES, mutate, mutation } from "../../../support/kubernetes/odd-bodies.ts";

const missing = missingForReal();
if (missing !== undefined)
  process.stderr.write(`kubernetes: not held against a real API server: ${missing}\n`);

describe.skipIf(missing !== undefined)(
  `a real kube-apiserver${missing === undefined ? "" : ` (NOT RUN: ${missing})`}`,
  () => {
    let cluster: TestCluster;
    beforeAll(async () => {
      cluster = await startCluster({ kind: "real" });
    });
    afterAll(() => cluster.stop());

    type Asked = { readonly status: number; readonly type: string; readonly body: Uint8Array };

    /** The path goes out as it is written. */
    function ask(
      method: string,
      path: string,
      headers: Record<string, string> = {},
      body?: Uint8Array,
    ): Promise<Asked> {
      return new Promise((resolve, reject) => {
        const { hostname, port } = new URL(cluster.url);
        const sent = httpsRequest(
          {
            hostname,
            port,
            method,
            path,
            ca: cluster.ca,
            headers: { authorization: `Bearer ${cluster.token}`, ...headers },
          },
          (response) => {
            const chunks: Uint8Array[] = [new Uint8Array()];
            response.on("data", (chunk: Uint8Array) => chunks.push(chunk));
            response.on("end", () =>
              resolve({
                status: response.statusCode ?? 0,
                type: response.headers["content-type"] ?? "",
                body: concat(chunks),
              }),
            );
            response.on("error", reject);
          },
        );
        sent.on("error", reject);
        sent.end(body);
      });
    }

    describe("takes a request for what the gateway takes it for", () => {
      const CONNECTING = ["exec", "attach", "portforward", "proxy"];

      function derived(method: string, path: string): RequestInfo | undefined {
        const target = parseTarget(path);
        const info = target.ok
          ? requestInfo({ method: method as HttpMethod, target: target.value, upgrade: false })
          : target;
        return info.ok ? info.value : undefined;
      }

      type Case = { readonly method: string; readonly path: string; readonly info: RequestInfo };

      /** Sends each request and compares what the audit log says with what was derived. */
      async function compare(cases: readonly Case[], marker: string): Promise<number> {
        for (const [index, { method, path }] of cases.entries())
          await ask(method, path, { "user-agent": `${marker}-${index}.` });
        const seen = new Map(
          cluster.audit().flatMap((event) => {
            const index = event.userAgent?.startsWith(`${marker}-`) === true ? event.userAgent : undefined;
            return index === undefined ? [] : [[index, event] as const];
          }),
        );
        let compared = 0;
        for (const [index, { method, path, info }] of cases.entries()) {
          const event = seen.get(`${marker}-${index}.`);
          // What the server turned away as malformed before it looked at it.
          if (event === undefined) continue;
          compared++;
          const about = `${method} ${path}`;
          const {
            apiGroup = "",
            apiVersion = "",
            resource = "",
            subresource = "",
            namespace = "",
            name = "",
          } = event.objectRef ?? {};
          if (info.resource === "") {
            expect([about, event.verb, event.objectRef]).toEqual([about, method.toLowerCase(), undefined]);
            continue;
          }
          const connects = CONNECTING.includes(info.verb);
          expect([
            about,
            connects ? "" : event.verb,
            apiGroup,
            apiVersion,
            resource,
            subresource,
            namespace,
          ]).toEqual([
            about,
            connects ? "" : info.verb,
            info.group,
            info.version,
            info.resource,
            info.subresource,
            info.namespace,
          ]);
          const named = connects ? name.split(":").find((part) => part === info.name) : name;
          expect([about, named]).toEqual([about, info.name]);
        }
        return compared;
      }

      it("for requests of every form", async () => {
        const pod = "/api/v1/namespaces/shop/pods/orders-api-0";
        const lines = [
          "GET /api/v1/namespaces",
          "GET /api/v1/namespaces/shop",
          "PUT /api/v1/namespaces/shop/finalize",
          "GET /api/v1/namespaces/shop/status",
          "GET /api/v1/pods",
          "HEAD /api/v1/pods",
          "GET /api/v1/pods?watch=1&timeoutSeconds=1",
          "GET /api/v1/namespaces/shop/pods?watch=true&timeoutSeconds=1",
          "GET /api/v1/namespaces/shop/pods?watch&timeoutSeconds=1",
          "GET /api/v1/namespaces/shop/pods?watch=false",
          "GET /api/v1/namespaces/shop/pods?watch=0",
          "GET /api/v1/namespaces/shop/pods?w%61tch=1&timeoutSeconds=1",
          "GET /api/v1/watch/namespaces/shop/pods?timeoutSeconds=1",
          "GET /api/v1/watch/namespaces/shop/pods/orders-api-0?timeoutSeconds=1",
          "GET /apis/apps/v1/watch/deployments?timeoutSeconds=1",
          "GET /api/v1/namespaces/shop/pods?fieldSelector=metadata.name%3Dorders-api-0",
          "GET /api/v1/namespaces/shop/pods?fieldSelector=metadata.name%3D%3Dorders-api-0,status.phase%3DPending",
          "GET /api/v1/namespaces/shop/pods?fieldSelector=metadata.name%21%3Dorders-api-0",
          "GET /api/v1/namespaces/shop/pods?fieldSelector=metadata.name%3D",
          "DELETE /api/v1/namespaces/payments/configmaps?fieldSelector=metadata.name%3Dx",
          "DELETE /api/v1/namespaces/payments/pods",
          "DELETE /api/v1/namespaces/payments/pods/none",
          `GET ${pod}`,
          `GET ${pod}/log`,
          `PATCH ${pod}/status`,
          `POST ${pod}/eviction`,
          `GET ${pod}/exec?command=id`,
          `POST ${pod}/exec?command=id`,
          `POST ${pod}/attach`,
          `POST ${pod}/portforward`,
          `GET ${pod}/proxy/a/b`,
          "GET /api/v1/namespaces/shop/services/https:web:443/proxy/",
          "GET /api/v1/nodes/n1:10250/proxy/pods",
          "GET /api/v1/nodes/https:n1:10250/proxy/pods",
          "GET /api/v1/proxy/nodes/n1",
          "POST /api/v1/namespaces/shop/serviceaccounts/default/token",
          "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
          "GET /apis/example.com/v1/namespaces/shop/widgets/w/scale",
          "GET /apis/example.com/v1/namespaces/shop/namespaces/x",
          "GET /api",
          "GET /api/v1",
          "GET /apis/apps/v1",
          "GET /apis/apps",
          "GET /openapi/v3",
          "GET /version",
          "GET /metrics",
          "GET /API/v1/secrets",
          "GET /logs/x",
          "POST /version",
        ];
        const cases = lines.flatMap((line) => {
          const [method = "", path = ""] = line.split(" ");
          const info = derived(method, path);
          if (info === undefined) throw new Error(`${line} is refused`);
          return [{ method, path, info }];
        });
        expect(await compare(cases, "form")).toBe(lines.length);
      });

      it("for requests that nobody would write", async () => {
        const segment = fc.constantFrom(
          ...[
            "namespaces",
            "shop",
            "pods",
            "secrets",
            "watch",
            "proxy",
            "exec",
            "log",
            "status",
            "finalize",
            "web",
            "a:b",
            "default",
          ],
        );
        const parameter = fc.constantFrom(
          ...[
            "watch=1",
            "watch=0",
            "watch=",
            "follow=1",
            "fieldSelector=metadata.name%3Dweb",
            "fieldSelector=metadata.namespace%3Dx",
          ],
          ...[
            "dryRun=All",
            "command=id",
            "limit=1",
            "Watch=1",
            "name=web",
            "resource=secrets",
            "namespace=x",
          ],
        );
        const line = fc.record({
          // No change: what was generated could be anything.
          method: fc.constantFrom("GET", "GET", "GET", "HEAD"),
          prefix: fc.constantFrom("/api/v1", "/apis/apps/v1", "/api", "/apis", "/apis/example.com/v1"),
          segments: fc.array(segment, { maxLength: 6 }),
          parameters: fc.array(parameter, { maxLength: 2 }),
        });
        const cases = fc
          .sample(line, { numRuns: 400, seed: 20_261_122 })
          .flatMap(({ method, prefix, segments, parameters }) => {
            const path = `${[prefix, ...segments].join("/")}?${[...parameters, "timeoutSeconds=0"].join("&")}`;
            const info = derived(method, path);
            // A watch would last.
            return info === undefined || info.verb === "watch" ? [] : [{ method, path, info }];
          });
        expect(cases.length).toBeGreaterThan(150);
        expect(await compare(cases, "odd")).toBeGreaterThan(150);
      });
    });

    describe("reads nothing in a body that the gateway misses", () => {
      const PODS = "/api/v1/namespaces/shop/pods";
      const INFO = { verb: "create", resource: "pods", group: "", subresource: "" } as const;

      function factsOf(type: string, bytes: Uint8Array): KubernetesBodyFacts | string {
        const value = readKubernetesBody(INFO, { type, encoding: "", bytes });
        const facts = value.ok ? bodyFacts(value.value, type) : value;
        return facts.ok ? facts.value : facts.error;
      }

      it.each(ODD_BODIES)("%s", async (what, type, body) => {
        const bytes = typeof body === "string" ? utf8(body) : new Uint8Array(body);
        const headers = { accept: JSON_TYPE, ...(type === "" ? {} : { "content-type": type }) };
        const { status, body: text } = await ask("POST", `${PODS}?dryRun=All`, headers, bytes);
        const ours = factsOf(type, bytes);
        if (what.startsWith("plain")) {
          expect(status).toBe(201);
          expect(ours).toMatchObject({ images: ["evil"], hostNamespaces: ["network"] });
        }
        expectNothingMissed(status, text, ours);
      });

      /** Not taken, so it does not matter; or not readable, which is a fact of its own; or everything is seen. */
      function expectNothingMissed(
        status: number,
        text: Uint8Array,
        ours: KubernetesBodyFacts | string,
      ): void {
        if (status !== 201 || typeof ours === "string") return;
        const read = factsOf(JSON_TYPE, text);
        if (typeof read === "string") throw new Error(read);
        expect(ours.privileged || !read.privileged).toBe(true);
        for (const set of ["hostNamespaces", "hostPaths", "images", "capabilities"] as const)
          expect(ours[set]).toEqual(expect.arrayContaining([...read[set]]));
        for (const account of read.serviceAccounts.filter((name) => name !== "default"))
          expect(ours.serviceAccounts).toContain(account);
      }

      // SALLY_LONG_TESTS=1: minutes of it.
      const LONG = process.env["SALLY_LONG_TESTS"] === "1";
      it("however it is cut and pasted together", { timeout: LONG ? 1_800_000 : 60_000 }, async () => {
        const bases = ODD_BODIES.filter(([, , body]) => body.length < 600);
        const changes = fc.record({
          base: fc.nat(bases.length - 1),
          steps: fc.array(mutation, { minLength: 1, maxLength: 2 }),
        });
        let taken = 0;
        let compared = 0;
        for (const { base, steps } of fc.sample(changes, {
          numRuns: LONG ? 30_000 : 400,
          seed: 20_261_122,
        })) {
          const [, type = "", body = ""] = bases[base] ?? [];
          const bytes = mutate(typeof body === "string" ? utf8(body) : new Uint8Array(body), type, steps);
          const headers = { accept: JSON_TYPE, ...(type === "" ? {} : { "content-type": type }) };
          const { status, body: text } = await ask("POST", `${PODS}?dryRun=All`, headers, bytes);
          const ours = factsOf(type, bytes);
          if (status === 201) taken++;
          if (status === 201 && typeof ours !== "string") compared++;
          try {
            expectNothingMissed(status, text, ours);
          } catch (error) {
            throw new Error(`${type}: ${JSON.stringify(displayUtf8(bytes))}`, { cause: error });
          }
        }
        // Or nothing of this meant anything.
        expect(taken).toBeGreaterThan(40);
        expect(compared).toBeGreaterThan(15);
      });
    });

    describe("makes nothing of a patch that the gateway misses", () => {
      const WEB = "/apis/apps/v1/namespaces/shop/deployments/web";
      const INFO = { verb: "patch", resource: "deployments", group: "apps", subresource: "" } as const;
      const JSON_PATCH = "application/json-patch+json";
      const MERGE = "application/merge-patch+json";
      const STRATEGIC = "application/strategic-merge-patch+json";
      const APPLY = "application/apply-patch+yaml";
      const POD = "/spec/template/spec";
      let before: KubernetesBodyFacts;

      function factsOf(type: string, bytes: Uint8Array): KubernetesBodyFacts | string {
        const value = readKubernetesBody(INFO, { type, encoding: "", bytes });
        const facts = value.ok ? bodyFacts(value.value, type) : value;
        return facts.ok ? facts.value : facts.error;
      }

      beforeAll(async () => {
        const labels = { app: "web" };
        const spec = {
          containers: [
            { name: "a", image: "good:1", tty: true, securityContext: { capabilities: { add: ["CHOWN"] } } },
          ],
          volumes: [{ name: "v", emptyDir: {} }],
        };
        const object = {
          apiVersion: "apps/v1",
          kind: "Deployment",
          metadata: { name: "web" },
          spec: { selector: { matchLabels: labels }, template: { metadata: { labels }, spec } },
        };
        const bytes = utf8(JSON.stringify(object));
        const created = await ask("POST", WEB.replace("/web", ""), { "content-type": JSON_TYPE }, bytes);
        const facts = factsOf(JSON_TYPE, created.body);
        if (created.status !== 201 || typeof facts === "string") throw new Error(displayUtf8(created.body));
        before = facts;
      });

      it.each<[string, string, unknown, boolean]>([
        ["a merge", MERGE, { spec: { template: { spec: { hostNetwork: true } } } }, true],
        [
          "a strategic merge",
          STRATEGIC,
          { spec: { template: { spec: { containers: [{ name: "a", image: "evil" }] } } } },
          true,
        ],
        [
          "a strategic replacement",
          STRATEGIC,
          {
            spec: {
              template: {
                spec: { $patch: "replace", hostPID: true, containers: [{ name: "b", image: "evil" }] },
              },
            },
          },
          true,
        ],
        [
          "a strategic merge of one list",
          STRATEGIC,
          {
            spec: {
              template: {
                spec: {
                  "$setElementOrder/volumes": [{ name: "w" }, { name: "v" }],
                  volumes: [{ name: "w", hostPath: { path: "/etc//" } }],
                },
              },
            },
          },
          true,
        ],
        [
          "an apply",
          APPLY,
          `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {template: {spec: {hostIPC: yes, containers: [{name: z, image: evil}]}}}}`,
          true,
        ],
        [
          "an apply with an anchor",
          APPLY,
          `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {template: {spec: {hostIPC: &t true, hostPID: *t, containers: [{name: z, image: evil}]}}}}`,
          false,
        ],
        [
          "a JSON patch",
          JSON_PATCH,
          [{ op: "replace", path: `${POD}/containers/0/image`, value: "evil" }],
          true,
        ],
        [
          "a JSON patch at the end",
          JSON_PATCH,
          [{ op: "add", path: `${POD}/containers/0/securityContext/capabilities/add/-`, value: "SYS_ADMIN" }],
          true,
        ],
        [
          "a JSON patch from the end",
          JSON_PATCH,
          [
            {
              op: "replace",
              path: `${POD}/containers/0/securityContext/capabilities/add/-1`,
              value: "SYS_ADMIN",
            },
          ],
          true,
        ],
        [
          "a JSON patch at 00",
          JSON_PATCH,
          [
            {
              op: "replace",
              path: `${POD}/containers/00/securityContext/capabilities/add/00`,
              value: "SYS_ADMIN",
            },
          ],
          true,
        ],
        [
          "a JSON patch with escapes",
          JSON_PATCH,
          `[{"op":"add","p\\u0061th":"${POD}/host\\u004eetwork","value":true}]`,
          true,
        ],
        [
          "a JSON patch of it all",
          JSON_PATCH,
          [{ op: "add", path: `${POD}/volumes`, value: [{ name: "w", hostPath: { path: "/./etc" } }] }],
          true,
        ],
        [
          "a JSON patch that copies",
          JSON_PATCH,
          [{ op: "copy", from: `${POD}/containers/0/tty`, path: `${POD}/hostNetwork` }],
          false,
        ],
        [
          "a JSON patch that moves",
          JSON_PATCH,
          [{ op: "move", from: `${POD}/containers/0/tty`, path: `${POD}/hostNetwork` }],
          false,
        ],
        [
          "a JSON patch with an operation twice",
          JSON_PATCH,
          `[{"op":"test","op":"add","path":"${POD}/hostNetwork","value":true}]`,
          false,
        ],
      ])("%s", async (_, type, patch, readable) => {
        const bytes = utf8(typeof patch === "string" ? patch : JSON.stringify(patch));
        const path = `${WEB}?dryRun=All${type === APPLY ? "&fieldManager=test&force=true" : ""}`;
        const { status, body } = await ask("PATCH", path, { "content-type": type, accept: JSON_TYPE }, bytes);
        expect([status, displayUtf8(body)]).toEqual([200, expect.any(String)]);
        const after = factsOf(JSON_TYPE, body);
        const ours = factsOf(type, bytes);
        if (typeof after === "string") throw new Error(after);
        // It does something, or this proves nothing.
        expect(after).not.toEqual(before);
        expect(typeof ours === "string" ? ours : true).toEqual(readable ? true : expect.any(String));
        if (typeof ours === "string") return;
        for (const set of ["hostNamespaces", "hostPaths", "images", "capabilities"] as const) {
          const added = after[set].filter((value) => !before[set].includes(value));
          expect(ours[set]).toEqual(expect.arrayContaining(added));
        }
      });
    });

    describe("gives Secrets in every form, of which the client sees none", () => {
      const SECRETS = "/api/v1/namespaces/payments/secrets";
      const ONE = `${SECRETS}/masked`;
      const CANARY = "canary-7f3a";
      const data = {
        password: Buffer.from(CANARY).toString("base64"),
        "tls.crt": Buffer.from(`${CANARY}-2`).toString("base64"),
      };
      const shown = { password: btoa("****"), "tls.crt": btoa("****") };

      beforeAll(async () => {
        const metadata = { name: "masked", labels: { for: "masks" } };
        const object = { kind: "Secret", apiVersion: "v1", metadata, data };
        const annotations = {
          "kubectl.kubernetes.io/last-applied-configuration": `${JSON.stringify({ ...object, stringData: { password: CANARY } })}\n`,
        };
        const body = utf8(JSON.stringify({ ...object, metadata: { ...metadata, annotations } }));
        const created = await ask("POST", SECRETS, { "content-type": "application/json" }, body);
        if (created.status !== 201) throw new Error(displayUtf8(created.body));
      });

      /** An answer, as it is and as the client gets it. */
      async function through(
        path: string,
        accept: string,
      ): Promise<{ real: Asked; seen: Uint8Array | string }> {
        const real = await ask("GET", path, { accept });
        const seen = answer(`GET ${path}`, real.body, { type: real.type, status: real.status, pieces: 97 });
        const secrets = [CANARY, data.password, data["tls.crt"]];
        // Or this proved nothing.
        expect(secrets.some((secret) => displayUtf8(real.body).includes(secret))).toBe(true);
        if (typeof seen !== "string") for (const secret of secrets) expect(seen.text).not.toContain(secret);
        return { real, seen: typeof seen === "string" ? seen : seen.bytes };
      }

      /** What the real server reads in an object. */
      async function readBack(
        object: Uint8Array,
        type: string,
      ): Promise<{ data: unknown; metadata: { annotations: Record<string, string> } }> {
        const answered = await ask(
          "PUT",
          `${ONE}?dryRun=All`,
          { "content-type": type, accept: "application/json" },
          object,
        );
        expect([answered.status, displayUtf8(answered.body)]).toEqual([200, expect.any(String)]);
        return JSON.parse(displayUtf8(answered.body)) as Awaited<ReturnType<typeof readBack>>;
      }

      function expectMasked(object: Awaited<ReturnType<typeof readBack>>): void {
        expect(object.data).toEqual(shown);
        const applied = object.metadata.annotations["kubectl.kubernetes.io/last-applied-configuration"] ?? "";
        expect(JSON.parse(applied)).toMatchObject({ data: shown, stringData: { password: "****" } });
      }

      it.each(["application/json", "application/yaml", PROTOBUF])(
        "as %s, which it reads back masked",
        async (type) => {
          const { seen } = await through(ONE, type);
          if (typeof seen === "string") throw new Error(seen);
          expectMasked(await readBack(seen, type));
        },
      );

      // Together, since each watch takes a second.
      it.concurrent.each([
        ["a list in JSON", SECRETS, "application/json"],
        ["a list in YAML", SECRETS, "application/yaml"],
        ["a list in protobuf", SECRETS, PROTOBUF],
        ["a list of all namespaces in protobuf", "/api/v1/secrets", PROTOBUF],
        [
          "a table with whole objects",
          `${SECRETS}?includeObject=Object`,
          "application/json;as=Table;g=meta.k8s.io;v=v1",
        ],
        ["a table", SECRETS, "application/json;as=Table;g=meta.k8s.io;v=v1"],
        ["metadata in JSON", SECRETS, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"],
        ["metadata in protobuf", SECRETS, `${PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1`],
        ["metadata of one in protobuf", ONE, `${PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1`],
        ["a watch in JSON", `${SECRETS}?watch=1&timeoutSeconds=1&resourceVersion=0`, "application/json"],
        [
          "a watch in protobuf",
          `${SECRETS}?watch=1&timeoutSeconds=1&resourceVersion=0`,
          `${PROTOBUF};stream=watch`,
        ],
        [
          "a watch of tables",
          `${SECRETS}?watch=1&timeoutSeconds=1&resourceVersion=0&includeObject=Object`,
          "application/json;as=Table;g=meta.k8s.io;v=v1",
        ],
        [
          "a watch by the old path",
          `/api/v1/watch/namespaces/payments/secrets?timeoutSeconds=1&resourceVersion=0`,
          PROTOBUF,
        ],
      ])("as %s", async (_, path, accept) => {
        const { seen } = await through(path, accept);
        expect(typeof seen).not.toBe("string");
      });

      it.each([JSON_TYPE, PROTOBUF])("nor of the token that it makes, as %s", async (accept) => {
        const accounts = "/api/v1/namespaces/payments/serviceaccounts";
        const account = utf8(JSON.stringify({ metadata: { name: "ci" } }));
        await ask("POST", accounts, { "content-type": JSON_TYPE }, account);
        const path = `${accounts}/ci/token`;
        const made = await ask("POST", path, { "content-type": JSON_TYPE, accept }, utf8("{}"));
        expect([made.status, displayUtf8(made.body)]).toEqual([201, expect.stringMatching(/eyJ[\w-]+\.eyJ/)]);
        const seen = answer(`POST ${path}`, made.body, { type: made.type, status: made.status });
        if (typeof seen === "string") throw new Error(seen);
        expect(seen.text).not.toMatch(/eyJ/);
        expect(seen.text).toContain("****");
        expect(seen.text).toContain("https://kubernetes.default.svc");
      });

      it("nor of a ConfigMap's data that is masked, in protobuf, which it reads back masked", async () => {
        const path = "/api/v1/namespaces/payments/configmaps";
        const object = {
          metadata: { name: "masked" },
          data: { token: CANARY, mode: "fast" },
          binaryData: { key: data.password },
        };
        await ask("POST", path, { "content-type": JSON_TYPE }, utf8(JSON.stringify(object)));
        const real = await ask("GET", `${path}/masked`, { accept: PROTOBUF });
        expect(displayUtf8(real.body)).toContain(CANARY);
        const masks = [
          { resource: "configmaps", field: "data.token", mask: "full" },
          { resource: "configmaps", field: "binaryData.*", mask: "full" },
        ] as const;
        const seen = answer(`GET ${path}/masked`, real.body, { type: real.type, masks });
        if (typeof seen === "string") throw new Error(seen);
        const headers = { "content-type": PROTOBUF, accept: JSON_TYPE };
        const back = await ask("PUT", `${path}/masked?dryRun=All`, headers, seen.bytes);
        expect(JSON.parse(displayUtf8(back.body))).toMatchObject({
          data: { token: "****", mode: "fast" },
          binaryData: { key: btoa("****") },
        });
      });

      it.concurrent("as events of a watch in protobuf, which it reads back masked", async () => {
        const { seen } = await through(
          `${SECRETS}?watch=1&timeoutSeconds=1&resourceVersion=0`,
          `${PROTOBUF};stream=watch`,
        );
        if (typeof seen === "string") throw new Error(seen);
        const event = readFields(seen.subarray(4, 4 + readUint32(seen, 0)));
        const extension = event.ok ? event.value.find(({ number }) => number === 2)?.value : undefined;
        const fields = extension instanceof Uint8Array ? readFields(extension) : undefined;
        const object = fields?.ok === true ? fields.value[0]?.value : undefined;
        if (!(object instanceof Uint8Array)) throw new Error("no object");
        expect(readEnvelope(object)).toMatchObject({ ok: true, value: { kind: "Secret", apiVersion: "v1" } });
        expectMasked(await readBack(object, PROTOBUF));
      });
    });
  },
);

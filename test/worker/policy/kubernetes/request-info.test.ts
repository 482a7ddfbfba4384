import { describe, expect, it } from "vitest";
import { type HttpMethod } from "../../../../wire/http/open.ts";
import { parseTarget } from "../../../../wire/http/target.ts";
import { type RequestInfo, requestInfo } from "../../../../worker/policy/kubernetes/request-info.ts";

function info(request: string, upgrade = false): RequestInfo | string {
  const [method = "", raw = ""] = request.split(" ");
  const target = parseTarget(raw);
  if (!target.ok) return target.error.code;
  const parsed = requestInfo({ method: method as HttpMethod, target: target.value, upgrade });
  return parsed.ok ? parsed.value : parsed.error.code;
}

/** `verb group/version resource/subresource namespace name`, with - for what is empty. */
function shown(request: string, upgrade = false): string {
  const parsed = info(request, upgrade);
  if (typeof parsed === "string") return parsed;
  const { verb, group, version, resource, subresource, namespace, name } = parsed;
  const dash = (text: string): string => (text === "" ? "-" : text);
  return `${verb} ${dash(group)}/${dash(version)} ${dash(resource)}/${dash(subresource)} ${dash(namespace)} ${dash(name)}`;
}

describe("requestInfo", () => {
  // What k8s.io/apiserver's RequestInfoFactory derives for the same requests.
  it.each([
    ["GET /api/v1/namespaces", "list -/v1 namespaces/- - -"],
    ["GET /api/v1/namespaces/shop", "get -/v1 namespaces/- shop shop"],
    ["PUT /api/v1/namespaces/shop/finalize", "update -/v1 namespaces/finalize shop shop"],
    ["PATCH /api/v1/namespaces/shop/status", "patch -/v1 namespaces/status shop shop"],
    ["GET /api/v1/namespaces/shop/pods", "list -/v1 pods/- shop -"],
    ["HEAD /api/v1/namespaces/shop/pods", "list -/v1 pods/- shop -"],
    ["GET /api/v1/pods", "list -/v1 pods/- - -"],
    ["GET /api/v1/namespaces/shop/pods/web", "get -/v1 pods/- shop web"],
    ["HEAD /api/v1/namespaces/shop/pods/web", "get -/v1 pods/- shop web"],
    ["POST /api/v1/namespaces/shop/pods", "create -/v1 pods/- shop -"],
    ["PUT /api/v1/namespaces/shop/pods/web", "update -/v1 pods/- shop web"],
    ["PATCH /api/v1/namespaces/shop/pods/web", "patch -/v1 pods/- shop web"],
    ["DELETE /api/v1/namespaces/shop/pods/web", "delete -/v1 pods/- shop web"],
    ["DELETE /api/v1/namespaces/shop/pods", "deletecollection -/v1 pods/- shop -"],
    ["DELETE /api/v1/nodes", "deletecollection -/v1 nodes/- - -"],
    ["POST /api/v1/namespaces/shop/pods/web/eviction", "create -/v1 pods/eviction shop web"],
    ["GET /api/v1/namespaces/shop/pods/web/log", "get -/v1 pods/log shop web"],
    ["GET /apis/apps/v1/namespaces/shop/deployments", "list apps/v1 deployments/- shop -"],
    ["PATCH /apis/apps/v1/namespaces/shop/deployments/web/scale", "patch apps/v1 deployments/scale shop web"],
    ["GET /apis/example.com/v1alpha1/widgets", "list example.com/v1alpha1 widgets/- - -"],
    ["GET /apis/example.com/v1/namespaces/shop/namespaces/x", "get example.com/v1 namespaces/- shop x"],
    ["GET /api/v1/watch/pods", "watch -/v1 pods/- - -"],
    ["GET /api/v1/watch/namespaces/shop/secrets", "watch -/v1 secrets/- shop -"],
    ["GET /api/v1/watch/namespaces/shop/pods/web", "watch -/v1 pods/- shop web"],
    ["GET /apis/apps/v1/watch/deployments", "watch apps/v1 deployments/- - -"],
    ["GET /api/v1/pods?watch=true", "watch -/v1 pods/- - -"],
    ["GET /api/v1/pods?watch=1", "watch -/v1 pods/- - -"],
    ["GET /api/v1/pods?watch", "watch -/v1 pods/- - -"],
    ["GET /api/v1/pods?watch=", "watch -/v1 pods/- - -"],
    ["GET /api/v1/pods?w%61tch=TRUE", "watch -/v1 pods/- - -"],
    ["GET /api/v1/pods?watch=false", "list -/v1 pods/- - -"],
    ["GET /api/v1/pods?watch=0", "list -/v1 pods/- - -"],
    ["GET /api/v1/pods?Watch=true", "list -/v1 pods/- - -"],
    ["GET /api/v1/pods?fieldSelector=metadata.name%3Dweb", "list -/v1 pods/- - web"],
    ["GET /api/v1/pods?watch=1&fieldSelector=metadata.name%3D%3Dweb", "watch -/v1 pods/- - web"],
    ["GET /api/v1/pods?fieldSelector=spec.nodeName%3Da,metadata.name%3Dweb", "list -/v1 pods/- - web"],
    ["GET /api/v1/pods?fieldSelector=metadata.name%21%3Dweb", "list -/v1 pods/- - -"],
    ["GET /api/v1/pods?fieldSelector=status.phase%3DRunning", "list -/v1 pods/- - -"],
    ["DELETE /api/v1/pods?fieldSelector=metadata.name%3Dweb", "deletecollection -/v1 pods/- - -"],
  ])("%s", (request, expected) => {
    expect(shown(request)).toBe(expected);
  });

  it.each([
    ["GET /api"],
    ["GET /api/"],
    ["GET /api/v1"],
    ["GET /apis"],
    ["GET /apis/apps"],
    ["GET /apis/apps/v1"],
    ["HEAD /version"],
    ["GET /openapi/v2"],
    ["GET /openapi/v3"],
    ["GET /openapi/v3/apis/apps/v1?hash=A0"],
    ["GET /healthz"],
    ["GET /readyz/ping?verbose"],
    ["GET /.well-known/openid-configuration"],
  ])("%s only finds its way", (request) => {
    expect(shown(request)).toBe("discover -/- -/- - -");
  });

  it.each([
    ["GET /"],
    ["GET /metrics"],
    ["GET /metrics/slis"],
    ["GET /logs/kube-apiserver.log"],
    ["GET /debug/pprof/heap"],
    ["GET /debug/flags/v"],
    ["PUT /debug/flags/v"],
    ["POST /api/v1"],
    ["DELETE /apis/apps/v1"],
    ["POST /version"],
    ["GET /configz"],
    ["GET /API/v1/secrets"],
    ["GET /Api/v1/namespaces/shop/secrets/db"],
    ["GET /openapi/v3/a%25b"],
  ])("%s is more than that", (request) => {
    expect(shown(request)).toBe("nonresource -/- -/- - -");
  });

  it("has a path, a method and whether the answer goes on", () => {
    expect(info("GET /api/v1/pods?watch=1")).toMatchObject({
      path: "/api/v1/pods",
      method: "GET",
      streaming: true,
    });
    expect(info("GET /api/v1/namespaces/a/pods/b/log?follow=true")).toMatchObject({ streaming: true });
    expect(info("GET /api/v1/namespaces/a/pods/b/log")).toMatchObject({ streaming: false });
    expect(info("GET /api/v1/pods")).toMatchObject({ streaming: false });
  });

  it.each([
    ["POST /api/v1/namespaces/a/pods?dryRun=All", true],
    ["PATCH /apis/apps/v1/namespaces/a/deployments/b?dryRun=All", true],
    ["PUT /api/v1/namespaces/a/pods/b/status?dryRun=All", true],
    ["DELETE /api/v1/namespaces/a/pods/b?dryRun=All", true],
    ["DELETE /api/v1/namespaces/a/pods?dryRun=All", true],
    ["POST /api/v1/namespaces/a/pods/b/eviction?dryRun=All", true],
    // Not what the server takes for one, and what it refuses.
    ["POST /api/v1/namespaces/a/pods?dryRun=all", false],
    ["POST /api/v1/namespaces/a/pods?dryRun=", false],
    ["POST /api/v1/namespaces/a/pods?dryRun=true", false],
    // A token is made all the same, a program runs all the same.
    ["POST /api/v1/namespaces/a/serviceaccounts/b/token?dryRun=All", false],
    ["POST /api/v1/namespaces/a/pods/b/exec?command=id&dryRun=All", false],
    ["POST /api/v1/namespaces/a/pods/b/proxy/x?dryRun=All", false],
  ])("%s is a dry run: %s", (request, dryRun) => {
    expect(info(request)).toMatchObject({ dryRun });
  });
});

describe("what opens a connection has its own verb", () => {
  const POD = "/api/v1/namespaces/shop/pods/web";
  it.each([
    [`GET ${POD}/exec?command=id`, true, "exec -/v1 pods/exec shop web"],
    [`POST ${POD}/exec?command=id`, false, "exec -/v1 pods/exec shop web"],
    [`GET ${POD}/exec?command=id`, false, "exec -/v1 pods/exec shop web"],
    [`HEAD ${POD}/exec?command=id`, false, "exec -/v1 pods/exec shop web"],
    [`DELETE ${POD}/exec?command=id`, false, "exec -/v1 pods/exec shop web"],
    [`GET ${POD}/exec?command=id&watch=true`, true, "exec -/v1 pods/exec shop web"],
    [`GET /api/v1/watch/namespaces/shop/pods/web/exec?command=id`, true, "exec -/v1 pods/exec shop web"],
    [`GET ${POD}/attach?stdin=1`, true, "attach -/v1 pods/attach shop web"],
    [`GET ${POD}/portforward`, true, "portforward -/v1 pods/portforward shop web"],
    [`POST ${POD}/portforward`, false, "portforward -/v1 pods/portforward shop web"],
    [`GET ${POD}/proxy`, false, "proxy -/v1 pods/proxy shop web"],
    [`GET ${POD}/proxy/a//b`, false, "request_invalid"],
    [`DELETE ${POD}/proxy/a/b/c?x=1&x=2`, false, "proxy -/v1 pods/proxy shop web"],
    [`GET ${POD}/proxy/`, true, "proxy -/v1 pods/proxy shop web"],
    ["GET /api/v1/namespaces/shop/services/web/proxy/exec", false, "proxy -/v1 services/proxy shop web"],
    ["GET /api/v1/nodes/n1/proxy/run/shop/web/app", false, "proxy -/v1 nodes/proxy - n1"],
    ["GET /api/v1/proxy/nodes/n1", false, "proxy -/v1 nodes/- - n1"],
    ["GET /api/v1/proxy/namespaces/shop/services/web/a/b", false, "proxy -/v1 services/- shop web"],
    [
      "GET /apis/subresources.kubevirt.io/v1/namespaces/a/virtualmachines/b/portforward",
      true,
      "portforward subresources.kubevirt.io/v1 virtualmachines/portforward a b",
    ],
  ])("%s (upgrade: %s)", (request, upgrade, expected) => {
    expect(shown(request, upgrade)).toBe(expected);
  });

  it("has the words of a command, its container and its streams", () => {
    const parsed = info(
      `GET ${POD}/exec?command=sh&command=-c&command=rm+-rf%20%2Ftmp%2Fx&container=app&stdin=true&stdout=1&tty`,
      true,
    );
    expect(parsed).toMatchObject({
      stream: {
        command: ["sh", "-c", "rm -rf /tmp/x"],
        container: "app",
        stdin: true,
        stdout: true,
        stderr: false,
        tty: true,
        ports: [],
      },
    });
  });

  it("has the ports that stand in the address", () => {
    expect(info(`GET ${POD}/portforward?ports=80,443&ports=8080`, true)).toMatchObject({
      stream: { ports: ["80", "443", "8080"] },
    });
  });

  it.each([
    ["https:n1:10250", "n1", "10250"],
    ["n1:10250", "n1", "10250"],
    [":n1:10250", "n1", "10250"],
    ["http:n1:", "n1", ""],
    ["n1", "n1", ""],
  ])("takes %s apart, so that it is the same node", (written, name, port) => {
    expect(info(`GET /api/v1/nodes/${written}/proxy/pods`)).toMatchObject({ name, port });
  });

  it.each([[":10250"], ["ftp:n1:1"], ["a:b:c:d"], ["https::1"]])("refuses to proxy to %s", (written) => {
    expect(info(`GET /api/v1/nodes/${written}/proxy`)).toBe("request_invalid");
  });
});

describe("what is refused", () => {
  it.each([
    // Path confusion: the canonicaliser of targets has these.
    ["encoded slash", "GET /api/v1/namespaces/shop%2Fsecrets/pods"],
    ["encoded slash, lower case", "GET /api/v1/namespaces/shop/pods/web%2fexec"],
    ["dot segment", "GET /api/v1/namespaces/shop/pods/../secrets"],
    ["encoded dot segment", "GET /api/v1/namespaces/shop/pods/%2e%2e/secrets"],
    ["half encoded dot segment", "GET /api/v1/namespaces/shop/pods/.%2E/secrets"],
    ["single dot", "GET /api/v1/./secrets"],
    ["empty segment", "GET /api/v1//secrets"],
    ["leading empty segment", "GET //api/v1/secrets"],
    ["backslash", "GET /api/v1\\secrets"],
    ["encoded backslash", "GET /api/v1/namespaces/shop%5Csecrets/pods"],
    ["semicolon", "GET /api/v1/secrets;x=1"],
    ["encoded twice", "GET /api/v1/namespaces/shop/pods/web%252Fexec"],
    ["NUL", "GET /api/v1/secrets%00"],
    ["overlong UTF-8", "GET /api/v1/secrets%c0%ae"],
    ["full-width slash", "GET /api/v1/secrets%EF%BC%8Fdb"],
    ["absolute form", "GET http://10.0.0.1/api/v1/secrets"],
    ["fragment", "GET /api/v1/secrets#x"],
    // What only looks like a resource.
    ["upper case resource", "GET /api/v1/namespaces/shop/Secrets/db"],
    ["upper case namespace", "GET /api/v1/namespaces/Shop/secrets"],
    ["upper case subresource", "GET /api/v1/namespaces/shop/pods/web/Exec"],
    ["upper case group", "GET /apis/Apps/v1/deployments"],
    ["upper case version", "GET /api/V1/secrets"],
    ["trailing slash", "GET /api/v1/namespaces/shop/secrets/"],
    ["trailing slash after a name", "DELETE /api/v1/namespaces/shop/pods/web/"],
    ["more after a subresource", "GET /api/v1/namespaces/shop/pods/web/log/x"],
    ["exec with more behind it", "GET /api/v1/namespaces/shop/pods/web/exec/x?command=id"],
    ["percent sign in a name", "GET /api/v1/namespaces/shop/secrets/a%25b"],
    ["blank in a name", "GET /api/v1/namespaces/shop/secrets/a%20b"],
    ["not ASCII in a name", "GET /api/v1/namespaces/shop/secrets/d%C3%BC"],
    ["not ASCII in a resource", "GET /api/v1/%C5%BFecrets"],
    ["namespace with a dot", "GET /api/v1/namespaces/a.b/secrets"],
    ["long namespace", `GET /api/v1/namespaces/${"a".repeat(64)}/secrets`],
    ["nothing behind watch", "GET /api/v1/watch"],
    ["a change under watch", "DELETE /api/v1/watch/namespaces/shop/pods/web"],
    ["watch of one object by its path", "GET /api/v1/namespaces/shop/secrets/db?watch=true"],
    // Doubled and strange parameters.
    ["watch twice", "GET /api/v1/pods?watch=0&watch=1"],
    ["watch twice, once escaped", "GET /api/v1/pods?watch=0&w%61tch=1"],
    ["watch that is neither", "GET /api/v1/pods?watch=fal%C5%BFe"],
    ["watch that is neither, plain", "GET /api/v1/pods?watch=no"],
    ["two selectors", "GET /api/v1/pods?fieldSelector=metadata.name%3Da&fieldSelector=metadata.name%3Db"],
    ["two names in a selector", "GET /api/v1/pods?fieldSelector=metadata.name%3Da,metadata.name%3Db"],
    ["escapes in a selector", "GET /api/v1/pods?fieldSelector=metadata.name%3Da%5Cb"],
    ["selector without operator", "GET /api/v1/pods?fieldSelector=metadata.name"],
    ["selected name with a slash", "GET /api/v1/pods?fieldSelector=metadata.name%3Da%2Fb"],
    ["dry run twice", "DELETE /api/v1/namespaces/a/pods/b?dryRun=All&dryRun="],
    ["container twice", "GET /api/v1/namespaces/a/pods/b/exec?command=id&container=x&container=y"],
    ["container that cannot be", "GET /api/v1/namespaces/a/pods/b/exec?command=id&container=a%21"],
    ["exec of nothing", "GET /api/v1/namespaces/a/pods/b/exec"],
    ["nothing behind watch in a group", "GET /apis/example.com/v1/watch"],
    ["port that cannot be", "GET /api/v1/namespaces/a/pods/b/portforward?ports=0x50"],
  ])("%s", (_, request) => {
    expect(info(request)).toBe("request_invalid");
  });

  it("an upgrade of anything else", () => {
    for (const path of [
      "/api/v1/pods?watch=1",
      "/api/v1/namespaces/a/pods/b/log?follow=1",
      "/version",
      "/api/v1/namespaces/a/pods/b",
    ])
      expect(info(`GET ${path}`, true)).toBe("feature_not_supported");
  });

  it("OPTIONS", () => {
    expect(info("OPTIONS /api/v1/secrets")).toBe("unknown_operation");
    expect(info("OPTIONS /version")).toBe("unknown_operation");
  });
});

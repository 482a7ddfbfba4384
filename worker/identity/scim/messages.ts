/** What SCIM 2.0 answers (RFC 7643, RFC 7644), as far as Okta and Entra ID need it. Pure. */

export const USER_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User";
export const GROUP_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:Group";
const ERROR = "urn:ietf:params:scim:api:messages:2.0:Error";
const LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse";

/** RFC 7644 section 3.12, table 9. */
export type ScimType =
  | "invalidFilter"
  | "tooMany"
  | "uniqueness"
  | "mutability"
  | "invalidSyntax"
  | "invalidPath"
  | "invalidValue";

export type ScimError = {
  readonly status: 400 | 401 | 404 | 409 | 413 | 501;
  readonly detail: string;
  readonly scimType?: ScimType;
};

export function scimError(status: ScimError["status"], detail: string, scimType?: ScimType): ScimError {
  return { status, detail, ...(scimType === undefined ? {} : { scimType }) };
}

export function errorBody({ status, detail, scimType }: ScimError): object {
  return {
    schemas: [ERROR],
    status: String(status),
    ...(scimType === undefined ? {} : { scimType }),
    detail,
  };
}

/** RFC 7644 section 3.4.2; `startIndex` counts from one. */
export function listBody(total: number, startIndex: number, resources: readonly object[]): object {
  return {
    schemas: [LIST],
    totalResults: total,
    startIndex,
    itemsPerPage: resources.length,
    Resources: resources,
  };
}

/** RFC 7643 section 5. */
export function serviceProviderConfig(base: string, page: number): object {
  return {
    schemas: ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
    patch: { supported: true },
    bulk: { supported: false, maxOperations: 0, maxPayloadSize: 0 },
    filter: { supported: true, maxResults: page },
    changePassword: { supported: false },
    sort: { supported: false },
    etag: { supported: false },
    authenticationSchemes: [
      {
        type: "oauthbearertoken",
        name: "bearer token",
        description: "a token whose SHA-256 is in the configuration",
        primary: true,
      },
    ],
    meta: { resourceType: "ServiceProviderConfig", location: `${base}/ServiceProviderConfig` },
  };
}

/** RFC 7643 section 6. */
export function resourceTypes(base: string): object[] {
  const type = (name: string, endpoint: string, schema: string): object => ({
    schemas: ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
    id: name,
    name,
    endpoint,
    schema,
    meta: { resourceType: "ResourceType", location: `${base}/ResourceTypes/${name}` },
  });
  return [type("User", "/Users", USER_SCHEMA), type("Group", "/Groups", GROUP_SCHEMA)];
}

/** RFC 7643 section 7: the attributes that mean something here; others are kept as they are given. */
export function schemas(base: string): object[] {
  const attribute = (name: string, more: object = {}): object => ({
    name,
    type: "string",
    multiValued: false,
    required: false,
    caseExact: true,
    mutability: "readWrite",
    returned: "default",
    uniqueness: "none",
    ...more,
  });
  const schema = (id: string, name: string, attributes: readonly object[]): object => ({
    schemas: ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
    id,
    name,
    attributes,
    meta: { resourceType: "Schema", location: `${base}/Schemas/${id}` },
  });
  const members = {
    type: "complex",
    multiValued: true,
    subAttributes: [attribute("value", { mutability: "immutable" }), attribute("display")],
  };
  return [
    schema(USER_SCHEMA, "User", [
      attribute("userName", { required: true, caseExact: false, uniqueness: "server" }),
      attribute("externalId"),
      attribute("displayName"),
      attribute("active", { type: "boolean" }),
    ]),
    schema(GROUP_SCHEMA, "Group", [
      attribute("displayName", { required: true, uniqueness: "server" }),
      attribute("externalId"),
      attribute("members", members),
    ]),
  ];
}

/**
 * A family of attacks. A case is one statement, or several of one session that runs in a transaction; each is
 * run on both twins and everything delivered has to be equal.
 */
export type Case =
  | string
  | {
      readonly statements: readonly string[];
      /** Data for a COPY FROM STDIN among them. */
      readonly copyData?: string;
      /** Not inside a transaction of the test's own. */
      readonly bare?: boolean;
    };

export type Family = {
  readonly name: string;
  readonly cases: readonly Case[];
};

/** Real schemas with instances, judged by ajv where it takes the schema. A sample here; `bench -- control` runs them all. */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { Ajv } from "ajv";
import formats from "ajv-formats";
import { describe, expect, it } from "vitest";
import { dataPath, noData } from "../../../test/data.ts";
import { isValid } from "../contract.ts";
import { jsonSchemaConstraint } from "./index.ts";

const groups = ["github_easy", "github_medium", "github_hard", "snowplow", "kubernetes", "handwritten", "synthesized"];

describe.skipIf(!dataPath("json-schema-bench"))(
  `schemas of json-schema-bench ${dataPath("json-schema-bench") ? "" : noData}`,
  () => {
    it.each(groups)("%s", { timeout: 120_000 }, (group) => {
      const path = dataPath("json-schema-bench", `${group}.jsonl.gz`)!;
      const lines = gunzipSync(readFileSync(path)).toString().trim().split("\n");
      let judged = 0;
      for (const line of lines.filter((_, i) => i % Math.ceil(lines.length / 40) === 0)) {
        const { name, schema, tests } = JSON.parse(line) as {
          name: string;
          schema: { $schema?: string };
          tests: { valid: boolean; data: unknown }[];
        };
        let constraint: ReturnType<typeof jsonSchemaConstraint>;
        try {
          constraint = jsonSchemaConstraint(schema);
        } catch (error) {
          expect((error as { code?: string }).code, name).toBe("bad_option");
          continue;
        }
        const { $schema: dialect, ...rest } = schema;
        let validate: ((value: unknown) => boolean) | undefined;
        if (!dialect || /draft-0[67]/.test(dialect)) {
          try {
            const ajv = new Ajv({ strict: false, logger: false });
            (formats as unknown as (ajv: Ajv) => void)(ajv);
            validate = ajv.compile(rest);
          } catch {
            // What ajv does not take is judged by the marks of the collection.
          }
        }
        for (const { valid, data } of tests) {
          judged += 1;
          const text = JSON.stringify(data);
          expect(isValid(constraint, text), `${name}: ${text.slice(0, 300)}`).toBe(validate ? validate(data) : valid);
        }
      }
      expect(judged).toBeGreaterThan(5);
    });
  },
);

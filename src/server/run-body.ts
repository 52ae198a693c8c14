/** A run as the studio's page asks for it, checked: what is wrong is said by the option's name, so that a form can say it at the field. */
import { z } from "zod";
import { methodChoice, shaperChoice } from "../calls.ts";
import { requestOptions } from "../engine/decoding.ts";
import { hostOnlyOptions, type Method } from "../engine/method.ts";
import { ensure } from "../errors.ts";
import { findMethod } from "../methods/index.ts";
import { OptionError, parseBody } from "./errors.ts";
import { readShapers } from "./openai/fields.ts";
import type { RunRequest } from "./protocol.ts";

const runBody = z.strictObject({
  model: z.string().min(1).max(200),
  prompt: z.union([z.string().min(1).max(200_000), z.array(z.int().min(0)).min(1).max(100_000)]),
  method: z.record(z.string(), z.json()).and(z.object({ name: z.string() })),
  options: z.record(z.string(), z.json()).default({}),
  shapers: z.array(z.json()).max(16).default([]),
  /** Whether the prompt is said as a chat's first words. */
  chat: z.boolean().default(false),
  /** What stands before the prompt, which is then said so, too. */
  pictures: z
    .array(z.string().regex(/^data:/, "a picture comes with the request, as a data URL"))
    .max(8)
    .default([]),
});

export interface RunRules {
  /** Names of the models that may be opened. */
  readonly listed: () => Promise<readonly string[]>;
  /** Whether who asks sits at the host. */
  readonly local: boolean;
  /** The model's name. Errors: `unavailable` for one that is not listed. */
  readonly known: (model: string) => Promise<string>;
}

/** Errors: `bad_option`, and `unavailable` for a model that is not listed. */
export async function readRun(body: unknown, rules: RunRules): Promise<RunRequest> {
  const { model, prompt, method, options, shapers, pictures, chat } = parseBody(runBody, body);
  const said = chat || pictures.length > 0;
  ensure(!said || typeof prompt === "string", "bad_option", "prompt: what is said in a chat is a text, not ids");
  await rules.known(model);
  const { name, ...given } = method;
  const chosen = findMethod(name);
  await checkHostOptions(chosen, given, rules);
  checkOptions(chosen.options, given, "method");
  checkOptions(requestOptions, options, "request");
  const also = readShapers(shapers, (option, message) => {
    throw new OptionError([{ where: "request", option, message }]);
  });
  return {
    model,
    prompt:
      typeof prompt !== "string" ? prompt : said ? { messages: [shownAndSaid(pictures, prompt)] } : { text: prompt },
    options: { ...options, shapers: also.map(shaperChoice), method: methodChoice(method) },
  };
}

const shownAndSaid = (pictures: readonly string[], text: string) => ({
  role: "user",
  content:
    pictures.length === 0
      ? text
      : [...pictures.map((url) => ({ type: "image_url", image_url: { url } })), { type: "text", text }],
});

/**
 * What only the host decides may be said as it is anyway, and on the host itself as the name of a listed model, which a request may open
 * as its own. Errors: `bad_option`.
 */
async function checkHostOptions(
  method: Method,
  given: Readonly<Record<string, unknown>>,
  { local, listed }: RunRules,
): Promise<void> {
  const usual = method.options.safeParse({}).data ?? {};
  for (const option of hostOnlyOptions(method)) {
    const value = given[option];
    if (value === undefined || value === usual[option]) continue;
    if (local && typeof value === "string" && (await listed()).includes(value)) continue;
    const who = local
      ? `no model ${JSON.stringify(value)} is listed here, and this page opens no other`
      : "is for the host of the server to decide";
    throw new OptionError([{ where: "method", option, message: who }]);
  }
}

function checkOptions(schema: z.ZodType, given: Readonly<Record<string, unknown>>, where: "method" | "request"): void {
  const { error } = schema.safeParse(given);
  if (!error) return;
  throw new OptionError(
    error.issues.map(({ path, message, ...issue }) => {
      const unknown = "keys" in issue ? (issue.keys as string[])[0] : undefined;
      return {
        where,
        option: String(path[0] ?? unknown ?? ""),
        message: unknown ? "there is no such option" : message,
      };
    }),
  );
}

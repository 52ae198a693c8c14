/** Methods that cannot work with a model, or as it is asked for: why, and which flag would change that. */
import type { Method } from "../engine/method.ts";
import { capabilityWords } from "../engine/model.ts";
import { VentrisError } from "../errors.ts";
import type { Model } from "../open.ts";

export const sampling = "--temperature 1";
export const otherModel = "--model MODEL";

export interface Misfit {
  /** With the flag that would help at its end. */
  readonly reason: string;
  /** The flag alone; none where only an option of the method would help. */
  readonly flag?: string;
}

interface Circumstances {
  readonly method: Method;
  /** Those that were given: what nobody gave is not spoken of as an option. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly model: Pick<Model, "name" | "capabilities">;
  readonly temperature?: number;
}

/** What an error says of a method and its model; undefined for one that is about something else. */
export function misfitOf(error: unknown, { method, options, model, temperature }: Circumstances): Misfit | undefined {
  if (!(error instanceof VentrisError && ["unavailable", "bad_option"].includes(error.code))) return undefined;
  const { message } = error;
  // A slip in what was given, and nothing that the method lacks.
  const [, unknown] = /^(?:\w+: )?no model "([^"]*)"/.exec(message) ?? [];
  if (unknown !== undefined && Object.values(options).includes(unknown)) return undefined;
  const { needs = ["forest"], suffices } = method;
  const missing = needs.filter((need) => !model.capabilities.has(need));
  const [, having] = /; of the shipped models (.*) ha(?:s|ve) one$/.exec(message) ?? [];
  const others = having === undefined ? "" : `: of the shipped models ${having} can be passed`;
  if (missing.length > 0 && !suffices?.every((one) => model.capabilities.has(one))) {
    const needed = missing.map((need) => capabilityWords[need] ?? `a model with ${need}`).join(" and ");
    return { flag: otherModel, reason: `this takes ${needed}; pass ${otherModel}${others}` };
  }
  const lacking = partOf(message, options);
  if (lacking !== undefined) {
    const there = having?.replaceAll(/, | and /g, " or --model ");
    const where =
      there === undefined
        ? `and no shipped model has it; pass ${otherModel} to open another model`
        : `and --model ${there} has it`;
    return { flag: otherModel, reason: `this needs the part ${lacking}, which ${model.name} has not, ${where}` };
  }
  const vocabulary = otherVocabulary(message, options);
  if (vocabulary !== undefined) return { flag: "--draft MODEL", reason: vocabulary };
  const own = (message.startsWith(`${method.name}: `) ? message.slice(method.name.length + 2) : message)
    // It is said with the flag.
    .replace(/; give temperature 1$/, "");
  const [, why, lengths, otherwise] = /^maxTokens: (.*): give ([\d or]+)(, or .*)$/.exec(own) ?? [];
  if (why !== undefined) {
    const flag = lengths.replaceAll(/\d+/g, "-n $&");
    return { reason: `${why}; pass ${flag}${otherwise}`, flag };
  }
  const found = flagFor(own, method, temperature);
  const reason = ofOption(own.replace(/; of the shipped models .*$/, ""), method);
  if (found === undefined || own.includes(found.flag)) return { reason: ofOption(own, method), flag: found?.flag };
  const among = found.flag === otherModel ? others : "";
  return { reason: `${reason}; pass ${found.flag} ${found.effect}${among}`, flag: found.flag };
}

/** The part by which a method works where no other is named, and which the model has not; undefined: it is about something else, or there is another of its kind. */
function partOf(message: string, given: Circumstances["options"]): string | undefined {
  const [, option, part] = /^(?:(\w+): )?no part "([^"]+)": the model has /.exec(message) ?? [];
  const asked = option !== undefined && given[option] !== undefined;
  return asked || message.endsWith("?") ? undefined : part;
}

/** A default draft of another vocabulary, which everyone meets who trains a model of an own tokenizer. */
function otherVocabulary(message: string, given: Circumstances["options"]): string | undefined {
  const [, draft, target, fitting] =
    /^(?:[\w-]+: )?draft: (\S+) has another vocabulary than (.+?) \(.*?\); .*?(?:; shipped models that can draft for it: (.*))?$/.exec(
      message,
    ) ?? [];
  if (draft === undefined || given.draft !== undefined) return undefined;
  const which = fitting === undefined ? "a smaller model of the same tokenizer" : `one of ${fitting}`;
  return `the default draft, ${draft}, has another vocabulary than ${target}; pass --draft MODEL with ${which}`;
}

/** An error that begins with an option's bare name, as a clause about that option. */
function ofOption(message: string, { options }: Method): string {
  const [, option, said] = /^(\w+): ([\s\S]*)$/.exec(message) ?? [];
  return option !== undefined && Object.hasOwn(options.shape, option)
    ? `its option ${option} cannot be honoured: ${said}`
    : message;
}

/** What an error speaks of is what has to be changed. */
function flagFor(message: string, { options }: Method, temperature?: number) {
  if (/\btemperature\b/.test(message))
    return { flag: temperature === 0 ? sampling : "--temperature 0", effect: "to let it run" };
  if (/\bdraft\b/.test(message) && "draft" in options.shape)
    return { flag: "--draft MODEL", effect: "to name another draft" };
  if (/^(\w+: )?no part |\bthe model\b/.test(message)) return { flag: otherModel, effect: "to open another model" };
  return undefined;
}

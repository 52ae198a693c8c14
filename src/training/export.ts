/** What training leaves behind: a model folder, or an adapter, with its card; and a note of a run for those who look into it. */

import { VentrisError } from "../errors.ts";
import { copy, exists, keeping, nameOf, nearestPath, readText, storage, within } from "../files.ts";
import { parseJsonObject } from "../json.ts";
import type { Family, ModelConfig, ParameterSpecification } from "../models/family.ts";
import { type Lora, loraScale, mergeLora, writeLora } from "../models/lora.ts";
import { transposedValues } from "../models/parameters.ts";
import { hint } from "../names.ts";
import { type TensorToWrite, writeFileAtomically, writeSafetensors } from "../weights/index.ts";
import { type HistoryEntry, lossCurveSvg } from "./history.ts";
import type { TrainResult } from "./loop.ts";
import type { Values } from "./next-token.ts";
import { amount } from "./progress.ts";
import type { Recipe } from "./recipe-schema.ts";

export interface TrainedModel {
  readonly recipe: Recipe & { readonly file: string };
  readonly family: Family;
  readonly config: ModelConfig;
  /** The model's own weights; training a LoRA leaves them alone. */
  readonly values: Values;
  readonly lora: Lora | undefined;
  /** Folders of the tokenizer and of the model that is trained further. */
  readonly tokenizer: string;
  readonly base: string | undefined;
}

const tokenizerFiles = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "vocab.json",
  "merges.txt",
  "chat_template.jinja",
  "generation_config.json",
];

/** Halves, unless a value lies outside of their range. */
export function storedType(values: Iterable<readonly [string, Float32Array]>): "F16" | "F32" {
  const largest = 65504;
  for (const [, stored] of values) for (const x of stored) if (!(Math.abs(x) <= largest)) return "F32";
  return "F16";
}

/** As the checkpoint of the family has it: its names, transposed and shifted where it is so stored. */
function published(
  { name, shape, sources, transposed, shift = 0 }: ParameterSpecification,
  values: Values,
  type: "F16" | "F32",
): TensorToWrite {
  const data = shift === 0 ? values.get(name)! : values.get(name)!.map((x) => x - shift);
  if (!transposed) return { name: sources[0], type, shape, data };
  const [rows, columns] = shape as readonly [number, number];
  const turned = transposedValues(data, [columns, rows]);
  return { name: sources[0], type, shape: [columns, rows], data: turned };
}

async function writeWeights(family: Family, config: ModelConfig, values: Values, folder: string): Promise<void> {
  const type = storedType(values);
  const tensors = family.parameters(config).map((specification) => published(specification, values, type));
  await writeSafetensors(within(folder, "model.safetensors"), tensors, { format: "pt" });
}

/** A model folder with other weights than those of the folder `base`, which gives config and tokenizer. */
export async function writeValues(
  family: Family,
  config: ModelConfig,
  values: Values,
  base: string,
  folder: string,
): Promise<void> {
  await writeWeights(family, config, values, folder);
  for (const file of ["config.json", ...tokenizerFiles]) {
    if (await exists(within(base, file))) await copy(within(base, file), within(folder, file));
  }
}

/** A model folder of a config and weights alone: without a tokenizer. */
export async function writeConfigured(
  family: Family,
  config: ModelConfig,
  values: Values,
  json: object,
  folder: string,
): Promise<void> {
  await writeWeights(family, config, values, folder);
  await writeFileAtomically(within(folder, "config.json"), text(`${JSON.stringify(json, null, 2)}\n`));
}

/** Weights (an adapter's merged in), config and tokenizer: what `open` needs. Errors: `disk_full`, `unavailable`. */
export async function writeModel(model: TrainedModel, folder: string): Promise<void> {
  const { recipe, family, config, lora, tokenizer } = model;
  const values = lora ? mergeLora(model.values, lora.sites, lora.values, loraScale(lora.config)) : model.values;
  await writeWeights(family, config, values, folder);
  await writeFileAtomically(within(folder, "config.json"), text(`${JSON.stringify(recipe.config, null, 2)}\n`));
  const { absolute } = await storage();
  if (absolute(tokenizer) !== absolute(folder))
    for (const file of tokenizerFiles)
      if (await exists(within(tokenizer, file))) await copy(within(tokenizer, file), within(folder, file));
  if (recipe.chatTemplate !== undefined) await stateTemplate(folder, recipe.chatTemplate);
}

async function stateTemplate(folder: string, chatTemplate: string): Promise<void> {
  const path = within(folder, "tokenizer_config.json");
  const stated = (await exists(path)) ? await readJson(path) : {};
  await (await keeping()).remove(within(folder, "chat_template.jinja")); // would be read instead
  const config = { ...stated, chat_template: chatTemplate };
  await writeFileAtomically(path, text(`${JSON.stringify(config, null, 2)}\n`));
}

/** The trained model or adapter with its loss curve and card. */
export async function exportModel(model: TrainedModel, out: string, { step, history }: TrainResult): Promise<void> {
  const { recipe, lora, values } = model;
  if (lora) await writeLora(out, lora, model.base ?? recipe.name);
  else await writeModel(model, out);
  const title = `${recipe.name}: loss (nats a token)`;
  if (history.length > 0) await writeFileAtomically(within(out, "loss.svg"), text(lossCurveSvg(history, title)));
  const trained = [...(lora?.values ?? values).values()];
  const count = trained.reduce((sum, array) => sum + array.length, 0);
  const type = lora ? "F32" : storedType(values);
  await writeFileAtomically(within(out, "README.md"), text(modelCard(model, count, type, step, history)));
}

const readJson = async (path: string) => parseJsonObject(await readText(path), path);

const noteFile = "run.json";

export interface RunNote extends Pick<TrainedModel, "recipe" | "tokenizer" | "base"> {
  /** How texts begin that are held out: what samples go on with. */
  readonly openings: readonly string[];
}

/** What a checkpoint does not say: where the tokenizer and the base are. For `readNote`. */
export async function noteRun(
  folder: string,
  { recipe, tokenizer, base }: TrainedModel,
  openings: readonly string[],
): Promise<void> {
  await writeFileAtomically(
    within(folder, noteFile),
    text(`${JSON.stringify({ recipe, tokenizer, base, openings } satisfies RunNote, null, 2)}\n`),
  );
}

/** A run's folder, which may be given as that of a training which keeps its run in `run`, beside what it trained. */
export async function runFolderIn(folder: string): Promise<string> {
  const run = within(folder, "run");
  const lies = async (where: string): Promise<boolean> => exists(within(where, noteFile));
  return !(await lies(folder)) && (await lies(run)) ? run : folder;
}

/** The note of a run. Errors: `unavailable` where there is none, `bad_file`. */
export async function readNote(folder: string): Promise<RunNote> {
  const path = within(folder, noteFile);
  if (!(await exists(path))) {
    const there = await exists(folder);
    throw new VentrisError(
      "unavailable",
      there
        ? `${folder} is no training run: it has no ${noteFile}`
        : `there is no folder ${folder}${hint(await nearestPath(folder))}`,
    );
  }
  return (await readJson(path)) as unknown as RunNote;
}

const text = (content: string): Uint8Array => new TextEncoder().encode(content);

function modelCard(
  { recipe, config }: TrainedModel,
  parameters: number,
  type: string,
  step: number,
  history: readonly HistoryEntry[],
): string {
  const heldOut = history.findLast((entry) => entry.heldOutLoss !== undefined)?.heldOutLoss;
  const earlier = recipe.continues ?? { tokens: 0, minutes: 0 };
  const tokens = step * recipe.rows * recipe.length * (recipe.accumulate ?? 1);
  const seconds = history[history.length - 1]?.seconds;
  const rows: [string, string][] = [
    ["parameters", `${amount(parameters)}, stored as ${type}`],
    [
      "architecture",
      `${config.architecture}: ${config.layers} layers, width ${config.hiddenSize}, context ${config.contextLength}`,
    ],
    ["trained on", recipe.data.map((file) => `\`${file.path}\``).join(", ")],
    [
      "steps",
      `${step} of ${recipe.steps} (${recipe.rows} x ${recipe.length} tokens each)${earlier.tokens > 0 ? " after the earlier training" : ""}, ${amount(earlier.tokens + tokens)} tokens in all`,
    ],
    ...(recipe.teacher
      ? [
          [
            "distilled from",
            `\`${nameOf(recipe.teacher.model)}\` (${recipe.teacher.divergence ?? "forward-kl"}), share ${recipe.teacher.share} of the loss`,
          ] as [string, string],
        ]
      : []),
    ...(recipe.units
      ? [
          [
            "units",
            `of up to ${recipe.units.longest} tokens, each with more than ${recipe.units.threshold}; placeholder \`${recipe.units.pad.replaceAll("|", "\\|")}\`: \`lookAhead\` of lexical-units above ${recipe.units.longest} is more than was learned`,
          ] as [string, string],
        ]
      : []),
    [
      "held-out loss",
      heldOut === undefined
        ? "not measured"
        : `${heldOut.toFixed(3)} nats a token${recipe.answers ? " of the answers" : ""} (documents never trained on)`,
    ],
    ...(recipe.lora
      ? [
          [
            "adapter",
            `LoRA of rank ${recipe.lora.r}, alpha ${recipe.lora.alpha}, on ${recipe.lora.targets.join(", ")}`,
          ] as [string, string],
        ]
      : []),
    [
      "time",
      seconds === undefined
        ? "not recorded"
        : `${(earlier.minutes + seconds / 60).toFixed(0)} minutes on the training machine`,
    ],
    ["licence", recipe.licence],
  ];
  return `# ${recipe.name}

${recipe.description}

| | |
|---|---|
${rows.map(([name, value]) => `| ${name} | ${value} |`).join("\n")}

![loss curve](loss.svg)

Trained by \`ventris train recipes/${recipe.file}\`, which resumes from its checkpoint and can be run for longer.
`;
}

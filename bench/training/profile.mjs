/**
 * Where the time of a training step goes: operators of one replica's share of a step, from the runtime's own profile; knossos shape. Times
 * are those of each kind's fastest step.
 * Usage, after a build: node bench/training/profile.mjs [--dist dist] [--rank 8] [--rows 4] [--length 256] [--recompute] [--steps 12]
 * With a rank: a LoRA's step, on q_proj and v_proj.
 */
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { byKind, printKinds, takeProfile } from "../harness/operators.mjs";
import { randomCheckpoint, randomPrompt } from "../weights/random.mjs";

const { values: given } = parseArgs({
  options: {
    dist: { type: "string", default: "dist" },
    rank: { type: "string" },
    rows: { type: "string", default: "4" },
    length: { type: "string", default: "256" },
    recompute: { type: "boolean", default: false },
    steps: { type: "string", default: "12" },
  },
});
const [rows, length, steps] = [given.rows, given.length, given.steps].map(Number);

/** @param {string} path */
const load = (path) => import(pathToFileURL(join(resolve(given.dist), path)).href);
const { familyOf } = await load("models/families.js");
const { loraSites } = await load("models/lora.js");
const { readParameters } = await load("models/parameters.js");
const { initialLora } = await load("training/lora.js");
const { nextTokenObjective } = await load("training/next-token.js");
const { openSafetensors } = await load("weights/safetensors.js");

const folder = randomCheckpoint("knossos", { dtype: "F32" });
const { family, config } = familyOf(JSON.parse(readFileSync(join(folder, "config.json"), "utf8")));
const source = await openSafetensors(join(folder, "model.safetensors"));
const values = await readParameters(source, family, config);
await source.close();

/** @param {number} rank */
function adapter(rank) {
  const lora = { rank, alpha: 2 * rank, targets: ["q_proj", "v_proj"] };
  const sites = loraSites(family, config, lora);
  return { config: lora, sites, values: initialLora(sites, rank, 1) };
}

/** Products of matrices, and those of attention's heads. @param {Record<string, any>} args */
function kindOf({ op_name, output_type_shape }) {
  if (!["MatMul", "FusedMatMul", "Gemm"].includes(op_name)) return op_name;
  const [shape] = Object.values(output_type_shape[0]);
  return shape.length > 2 ? "products of heads" : "products";
}

const place = mkdtempSync(join(tmpdir(), "profile-"));
const { recompute, rank } = given;
const lora = rank === undefined ? undefined : adapter(Number(rank));
const options = { rows, length, threads: 1, recompute, lora, profile: join(place, "step") };
const objective = await nextTokenObjective(family, config, values, options);
const tokens = Int32Array.from(randomPrompt(rows * (length + 1), config.vocabularySize));
for (let step = 0; step <= steps; step++) await objective.gradients({ tokens, rows, length });
await objective.release();

/** The fastest of the steps: what else runs here makes single steps longer, and none shorter. @param {number[]} times */
const middle = (times) => Math.min(...times);
const { total, operators } = printKinds(byKind(takeProfile(place), steps, { kindOf, middle }));
console.log(`${operators} operators, ${(total / 1000).toFixed(1)} ms`);

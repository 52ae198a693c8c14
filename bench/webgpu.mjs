// Whether WebGPU writes the text of the processor on this machine, and how fast each is: `node bench/webgpu.mjs [MODEL [TOKENS]]`. Needs no
// network: the built package (dist, models) and node_modules. Exit status 1 where the texts differ or the device cannot be used.
import { spawnSync } from "node:child_process";
import { open } from "../dist/index.js";

const [model = "knossos", count = "64"] = process.argv.slice(2);
const prompts = ["Once upon a time", "The old king said that"];
const maxTokens = Number(count);

const { status, stdout } = spawnSync("nvidia-smi", ["--query-gpu=name,driver_version", "--format=csv,noheader"], {
  encoding: "utf8",
});
console.log(`graphics card: ${status === 0 ? stdout.trim() : "nvidia-smi says nothing"}`);

async function measure(device) {
  const opened = await open(model, { device });
  const texts = [];
  const speeds = [];
  try {
    await opened.generate(prompts[0], { temperature: 0, maxTokens: 8 }); // the first passes compile
    for (const prompt of prompts) {
      for (const temperature of [0, 0.8]) {
        const { text, counters, seconds } = await opened.generate(prompt, { temperature, seed: 7, maxTokens });
        texts.push(text);
        speeds.push(counters.generated / seconds.decode);
      }
    }
  } finally {
    await opened.close();
  }
  speeds.sort((a, b) => a - b);
  const speed = speeds[Math.floor(speeds.length / 2)];
  console.log(`${model} on ${device}: ${speed.toFixed(1)} tokens/s (median of ${speeds.length})`);
  return texts;
}

const wanted = await measure("cpu");
try {
  const found = await measure("webgpu");
  const same = wanted.filter((text, i) => text === found[i]).length;
  console.log(`the same text: ${same} of ${wanted.length}`);
  if (same < wanted.length) {
    for (const [i, text] of wanted.entries()) if (text !== found[i]) console.log({ cpu: text, webgpu: found[i] });
    process.exitCode = 1;
  }
} catch (error) {
  console.log(`webgpu cannot be used: ${error.message}`);
  process.exitCode = 1;
}

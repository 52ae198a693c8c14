/**
 * What replicas that share what they learn tell one another, in bytes a request: `node bench/sharing.mjs redis://127.0.0.1:6379`, with a server
 * that nobody else uses. Prints JSON. Bytes do not depend on the machine.
 */
import { open } from "../dist/index.js";

const [share = "redis://127.0.0.1:6379"] = process.argv.slice(2);
const [requests, tokens] = [10, 200];
const openings = ["Once upon a time", "The old king", "A fox and a crow", "In the harbour", "One winter morning"];

/** @param {object} method */
async function bytesOf(method) {
  const model = await open("knossos", { share });
  const { sharing } = model;
  if (!sharing) throw new Error("the model shares nothing");
  for (let i = 0; i < requests; i++) {
    const prompt = `${openings[i % openings.length]}, on day ${i} of the year,`;
    await model.generate(prompt, { maxTokens: tokens, seed: i, temperature: 0.8, method });
    await sharing.exchange(); // a piece a request, which is the most that it can be
  }
  const { sent, alone } = sharing.status;
  await model.close();
  if (alone) throw new Error(alone);
  return Math.round(sent / requests);
}

const table = await bytesOf({ name: "aded", table: "empty" });
const experience = await bytesOf({
  name: "auto",
  state: "none",
  arms: ["sample", { name: "prompt-lookup", length: 4 }],
});
const draft = await open("pylos");
console.log(JSON.stringify({ requests, tokens, table, experience, version: 4 * draft.parameterCount }));
await draft.close();

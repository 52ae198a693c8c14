// node bench/weights/export.mjs CHECKPOINT-FOLDER OUTPUT.gguf F32|F16|Q8_0|Q4_0
import { formats } from "./blocks.mjs";
import { exportGguf } from "./gguf.mjs";

const [folder, output, type] = process.argv.slice(2);
if (!folder || !output || !Object.hasOwn(formats, type ?? "")) {
  console.error(`usage: node bench/weights/export.mjs CHECKPOINT-FOLDER OUTPUT.gguf ${Object.keys(formats).join("|")}`);
  process.exit(2);
}
exportGguf(folder, output, /** @type {import("./blocks.mjs").GgufType} */ (type));

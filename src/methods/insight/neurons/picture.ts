/** A map of neurons as SVG: a row for each layer, dark where a neuron stands for one token; the surest ones with their words. */
import { escapeXml } from "../../../xml.ts";
import type { NeuronMap } from "./index.ts";
import { rankNeurons } from "./search.ts";

const width = 960;
const margin = { left: 44, right: 12, top: 34 };
const band = 22;
/** Cells of a layer at most: many neurons share one, which shows the surest of them. */
const mostCells = 460;
const named = 14;

/** `textOf` is a token's text. */
export function neuronPicture(map: NeuronMap, textOf: (token: number) => string, title: string): string {
  const { neurons, layers, settings } = map;
  const cells = Math.min(neurons, mostCells);
  const [across, below] = [(width - margin.left - margin.right) / cells, margin.top + band * layers.length];
  const score = (place: number): number =>
    Math.max(
      0,
      settings.metric === "softmax"
        ? Math.exp(map.scores[place * settings.top] - map.normaliser[place])
        : map.scores[place * settings.top],
    );
  // Probabilities of unscaled vectors are small where weights are: what counts is who stands out among the others.
  const ordered = Float64Array.from({ length: map.normaliser.length }, (_, place) => score(place)).sort();
  const [typical, high] = [0.5, 0.998].map((share) => ordered[Math.floor(share * (ordered.length - 1))]);
  const strength = (place: number): number =>
    Math.min(1, Math.max(0, (score(place) - typical) / (high - typical || 1)));
  const x = (neuron: number): number => margin.left + Math.floor((neuron / neurons) * cells) * across;
  const marks = layers.flatMap((_, l) => {
    const best = new Float64Array(cells);
    for (let i = 0; i < neurons; i++) {
      const cell = Math.floor((i / neurons) * cells);
      best[cell] = Math.max(best[cell], strength(l * neurons + i));
    }
    return Array.from(best, (value, cell) => {
      const at = (margin.left + cell * across).toFixed(1);
      // What is nearly nothing is not drawn: the paper shows through.
      return value < 0.02
        ? ""
        : `<rect x="${at}" y="${margin.top + l * band}" width="${across.toFixed(2)}" height="${band - 3}" fill-opacity="${value.toFixed(2)}"/>`;
    });
  });
  const surest = rankNeurons(map, "specialised", named);
  const lines = surest.map(({ layer, neuron, tokens }, i) => {
    const [column, row] = [i % 2, Math.floor(i / 2)];
    const words = tokens.slice(0, 5).map(({ token }) => JSON.stringify(textOf(token)).slice(1, -1));
    const share =
      tokens[0].probability === undefined
        ? tokens[0].score.toFixed(2)
        : `${(100 * tokens[0].probability).toPrecision(2)} %`;
    return `<text x="${margin.left + column * 460}" y="${below + 30 + row * 17}"><tspan class="at">${layer}.${neuron}</tspan> ${share}  ${escapeXml(words.join(" · "))}</text>`;
  });
  const dots = surest.map(({ layer, neuron }) => {
    const y = margin.top + layers.indexOf(layer) * band + band - 2;
    return `<path d="M${(x(neuron) + across / 2).toFixed(1)} ${y}l3 5h-6z"/>`;
  });
  const height = below + 44 + Math.ceil(lines.length / 2) * 17;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeXml(title)}">
<style>
  svg { background: #f6f1e7; font: 12px ui-monospace, monospace; } text { fill: #26221c; white-space: pre; }
  rect { fill: #a3341f; } path { fill: #3b5b6d; } .at { fill: #3b5b6d; }
</style>
<text x="${margin.left}" y="20">${escapeXml(title)}</text>
${layers.map((layer, l) => `<text x="${margin.left - 8}" y="${margin.top + l * band + 14}" text-anchor="end">${layer}</text>`).join("")}
${marks.join("")}
${dots.join("")}
${lines.join("\n")}
</svg>
`;
}

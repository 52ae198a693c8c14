/** What "run" opens on a paper's card, and whether it can here: a site of files has few models, and nothing but the playground's runs. */
import type { PromptShowcase } from "../../../src/papers/paper.ts";
import { pictureOf, sceneOf } from "../../../src/training/seeing/scenes.ts";
import type { PaperCard } from "./api.ts";
import { address } from "./route.svelte.ts";
import { site } from "./site.svelte.ts";

export type PromptPaper = PaperCard & { showcase: PromptShowcase };

export const usualModel = "knossos";

/** Whether the playground can run it. */
export const isPrompt = (paper: PaperCard): paper is PromptPaper =>
  paper.showcase !== undefined && "prompt" in paper.showcase && isHere(paper.showcase.model);

const isHere = (model = usualModel): boolean => !site || site.models.includes(model);

/** Undefined where there is nothing to run. */
export function runAddress(paper: PaperCard): string | undefined {
  const { showcase, name } = paper;
  if (!showcase) return undefined;
  if (isPrompt(paper)) return address("playground", undefined, { paper: name });
  if ("look" in showcase && isHere(showcase.model))
    return address("inside", showcase.model ?? usualModel, { look: showcase.look, ...showcase.asking });
  return "live" in showcase && !site ? address("trace", name, { live: "yes" }) : undefined;
}

/** The picture before a paper's own prompt, which its kept run was shown, as a data URL. */
export function shownTo({ showcase }: PaperCard): string | undefined {
  return showcase && "prompt" in showcase && showcase.scene ? sceneUrl(showcase.scene) : undefined;
}

/** The picture of a scene as a data URL. */
export function sceneUrl({ seed, number, size }: NonNullable<PromptShowcase["scene"]>): string {
  const { pixels } = pictureOf(sceneOf("test", seed, number), size);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [size, size];
  const drawn = new ImageData(size, size);
  for (let at = 0; at < size * size; at++) {
    drawn.data.set(pixels.subarray(3 * at, 3 * at + 3), 4 * at);
    drawn.data[4 * at + 3] = 255;
  }
  canvas.getContext("2d")!.putImageData(drawn, 0, 0);
  return canvas.toDataURL("image/png");
}

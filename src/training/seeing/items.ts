/**
 * What argos is taught and asked: scenes, named pictures of two public sets, and skills without a picture. An item is a function of its kind, seed and
 * number; training sees twemoji, most drawings and scenes and prompts of the training split, and tests are noto's, the last drawings and the others.
 */
import type { Stream } from "../../engine/random.ts";
import type { Picture } from "../../images/index.ts";
import { skills } from "../skills/index.ts";
import { type Choices, choices, type Split, skillItem } from "../skills/skill.ts";
import type { NamedPicture } from "./pictures.ts";
import { pictureOf, questionAbout, questionKinds, sceneOf } from "./scenes.ts";
import type { Turn } from "./texts.ts";

export interface SeeingItem {
  readonly picture?: Picture;
  readonly turns: readonly Turn[];
}

/** Moved, made a little larger or smaller, perhaps mirrored, on a light ground. */
export function varied({ width, height, pixels }: Picture, choose: Choices, mirrored: boolean): Picture {
  const [sx, sy] = [choose.integer(-6, 6), choose.integer(-6, 6)];
  const zoom = choose.integer(85, 115) / 100;
  const result = new Uint8Array(pixels.length).fill(255);
  for (let row = 0; row < height; row++)
    for (let column = 0; column < width; column++) {
      const x = Math.round((column - width / 2) * zoom + width / 2) + sx;
      const y = Math.round((row - height / 2) * zoom + height / 2) + sy;
      if (x < 0 || y < 0 || x >= width || y >= height) continue;
      const from = 3 * (y * width + (mirrored ? width - 1 - x : x));
      result.set(pixels.subarray(from, from + 3), 3 * (row * width + column));
    }
  return { width, height, pixels: result };
}

export const nameQuestions = ["What is this?", "What does the picture show?"] as const;

/** A named picture, varied, with the question what it is. */
export function namedItem({ picture, name }: NamedPicture, choose: Choices, mirrors: boolean): SeeingItem {
  const question = choose.one(nameQuestions);
  return {
    picture: varied(picture, choose, mirrors && choose.chance(0.5)),
    turns: [{ question, answer: `It is ${name}.` }],
  };
}

/** A scene and a question of each kind that it allows, in random order, and a few more of the kinds that are hardest. */
export function sceneItem(
  split: Split,
  { seed, number, size, choose }: { seed: number; number: number; size: number; choose: Choices },
): SeeingItem {
  const scene = sceneOf(split, seed, number);
  const wanted = [...choose.several(questionKinds, questionKinds.length), "count", "count", "colour"] as const;
  const turns = wanted.flatMap((kind, i) => questionAbout(scene, kind, seed + i, number) ?? []);
  return { picture: pictureOf(scene, size), turns };
}

/** Three skills of those that fit into short texts, without a picture. `fits` says which. */
export function skillTurns(
  split: Split,
  { seed, choose, fits }: { seed: number; choose: Choices; fits(prompt: string, answer: string): boolean },
): Turn[] {
  const turns: Turn[] = [];
  for (let i = 0; i < 3; i++) {
    const skill = choose.one(skills.filter(({ name }) => name !== "sql"));
    for (let attempt = 0; attempt < 5; attempt++) {
      const { prompt, answer } = skillItem(skill, split, seed, choose.integer(0, 1e6));
      if (!fits(prompt, answer)) continue;
      turns.push({ question: prompt, answer });
      break;
    }
  }
  return turns.length > 0 ? turns : [{ question: "Hello!", answer: "Hello!" }];
}

export interface NamedSets {
  readonly emoji: readonly NamedPicture[];
  readonly drawings: readonly NamedPicture[];
}

/** The items of a split's two sets: with a picture (three scenes to one emoji and one drawing), and without. */
export function itemsOf(
  split: Split,
  {
    seed,
    size,
    emoji,
    drawings,
    fits,
  }: NamedSets & {
    seed: number;
    size: number;
    fits(prompt: string, answer: string): boolean;
  },
) {
  const choiceOf = (request: number, number: number): Choices =>
    choices({ seed, request: 0xa4905 + request } satisfies Stream, number);
  return {
    withPicture(number: number): SeeingItem {
      const choose = choiceOf(1, number);
      const kind = choose.integer(0, 4);
      if (kind < 3) return sceneItem(split, { seed: seed + 31, number, size, choose });
      return kind === 3 ? namedItem(choose.one(emoji), choose, false) : namedItem(choose.one(drawings), choose, true);
    },
    withText: (number: number): SeeingItem => ({
      turns: skillTurns(split, { seed: seed + 100, choose: choiceOf(2, number), fits }),
    }),
  };
}

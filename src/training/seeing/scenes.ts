/**
 * Scenes that can be asked about: a few coloured shapes on a plain ground, drawn by a seed, with questions whose answers can be checked. A scene
 * belongs to one split, decided by what is in it and where, so that no test scene was ever seen in training.
 */
import type { Stream } from "../../engine/random.ts";
import { ensure } from "../../errors.ts";
import type { Picture } from "../../images/index.ts";
import { type Choices, choices, type Split, splitOf } from "../skills/skill.ts";

export const shapes = ["circle", "square", "triangle", "cross"] as const;
export type Shape = (typeof shapes)[number];

/** Red, green and blue from 0 to 255. */
export type Colour = readonly [number, number, number];

export const colours: Readonly<Record<string, Colour>> = {
  red: [214, 39, 40],
  green: [44, 140, 60],
  blue: [38, 84, 204],
  yellow: [240, 208, 32],
  purple: [128, 50, 160],
  orange: [244, 128, 24],
  pink: [244, 150, 190],
  black: [24, 24, 28],
};

/** Nine places, as they are read. */
export const places = [
  "at the top left",
  "at the top",
  "at the top right",
  "at the left",
  "in the middle",
  "at the right",
  "at the bottom left",
  "at the bottom",
  "at the bottom right",
] as const;

export interface Thing {
  readonly shape: Shape;
  readonly colour: string;
  /** Number of its place. */
  readonly place: number;
  /** Centre and half its width, in shares of the picture's side. */
  readonly x: number;
  readonly y: number;
  readonly radius: number;
  readonly fill: Colour;
}

export interface Scene {
  readonly ground: Colour;
  /** In the order in which they are read. */
  readonly things: readonly Thing[];
}

export const questionKinds = ["caption", "count", "colour", "position", "what", "whether"] as const;
export type QuestionKind = (typeof questionKinds)[number];

export interface Question {
  readonly kind: QuestionKind;
  readonly question: string;
  readonly answer: string;
}

const numbers = ["no", "one", "two", "three", "four", "five", "six"];
const mostThings = 5;

function drawScene(choose: Choices): Scene {
  // Few colours and shapes in a scene: then some come twice, and there is something to count.
  const palette = choose.several(Object.keys(colours), choose.integer(1, 3));
  const kinds = choose.several(shapes, choose.integer(1, 3));
  const count = choose.integer(1, mostThings);
  const light = choose.integer(205, 255);
  const ground: Colour = [light, light - choose.integer(0, 16), light - choose.integer(0, 16)];
  const where = choose.several([...places.keys()], count).sort((a, b) => a - b);
  const shifted = (): number => choose.integer(-100, 100) / 100;
  const things = where.map((place): Thing => {
    const colour = choose.one(palette);
    const radius = choose.integer(90, 140) / 1000;
    const room = 1 / 6 - radius;
    const fill = colours[colour].map((c) => Math.max(0, Math.min(255, c + choose.integer(-12, 12))));
    return {
      shape: choose.one(kinds),
      colour,
      place,
      x: ((place % 3) + 0.5) / 3 + room * shifted(),
      y: (Math.floor(place / 3) + 0.5) / 3 + room * shifted(),
      radius,
      fill: fill as unknown as Colour,
    };
  });
  return { ground, things };
}

/** What decides the split: which things are where. */
const described = ({ things }: Scene): string =>
  things.map(({ shape, colour, place }) => `${colour} ${shape} ${places[place]}`).join(", ");

/** The scene of this number in a split: the first draw that lies in it. */
export function sceneOf(split: Split, seed: number, number: number): Scene {
  for (let attempt = 0; attempt < 10_000; attempt++) {
    const scene = drawScene(choices({ seed, request: 0x5ce7e0000 + attempt } satisfies Stream, number));
    if (splitOf(described(scene)) === split) return scene;
  }
  ensure(false, "internal", `scenes: none for the split ${split}`);
}

/** Whether a point, in shares of a thing's half width from its centre, is in the shape. */
const inside: Readonly<Record<Shape, (x: number, y: number) => boolean>> = {
  circle: (x, y) => x * x + y * y <= 1,
  square: (x, y) => Math.max(Math.abs(x), Math.abs(y)) <= 0.88,
  triangle: (x, y) => y <= 0.85 && y >= -0.95 && Math.abs(x) <= (y + 0.95) * 0.56,
  cross: (x, y) => Math.max(Math.abs(x), Math.abs(y)) <= 1 && Math.min(Math.abs(x), Math.abs(y)) <= 0.34,
};

/** The scene as models are shown it, with so many pixels a side. */
export const pictureOf = (scene: Scene, size: number): Picture => ({
  width: size,
  height: size,
  pixels: new Uint8Array(drawnScene(scene, size)),
});

/** Pixels of the scene: red, green and blue from 0 to 255 one after another, row by row, edges smoothed. */
export function drawnScene({ ground, things }: Scene, size: number): Uint8ClampedArray<ArrayBuffer> {
  const fine = 3; // points a pixel is judged by, each way
  const pixels = new Uint8ClampedArray(3 * size * size);
  for (let at = 0; at < size * size; at++) pixels.set(ground, 3 * at);
  for (const { shape, fill, x, y, radius } of things) {
    const from = (centre: number): number => Math.max(0, Math.floor((centre - radius) * size));
    const to = (centre: number): number => Math.min(size, Math.ceil((centre + radius) * size));
    for (let row = from(y); row < to(y); row++) {
      for (let column = from(x); column < to(x); column++) {
        let hits = 0;
        for (let point = 0; point < fine * fine; point++) {
          const u = (column + ((point % fine) + 0.5) / fine) / size;
          const v = (row + (Math.floor(point / fine) + 0.5) / fine) / size;
          if (inside[shape]((u - x) / radius, (v - y) / radius)) hits++;
        }
        const share = hits / (fine * fine);
        const at = 3 * (row * size + column);
        for (let i = 0; i < 3; i++) pixels[at + i] = pixels[at + i] * (1 - share) + fill[i] * share;
      }
    }
  }
  return pixels;
}

const article = (word: string): string => (/^[aeiou]/.test(word) ? "an" : "a");
const listed = (items: readonly string[]): string =>
  items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} and ${items[items.length - 1]}`;

function caption({ things }: Scene): Question {
  const each = things.map(({ colour, shape, place }) => `${article(colour)} ${colour} ${shape} ${places[place]}`);
  return { kind: "caption", question: "What is in the picture?", answer: `There is ${listed(each)}.` };
}

function countQuestion({ things }: Scene, choose: Choices): Question {
  const { shape, colour } = choose.chance(0.85)
    ? choose.one(things)
    : { shape: choose.one(shapes), colour: choose.one(Object.keys(colours)) };
  const [name, wanted]: [string, (thing: Thing) => boolean] = choose.one([
    ["thing", () => true],
    [shape, (thing) => thing.shape === shape],
    [`${colour} thing`, (thing) => thing.colour === colour],
    [`${colour} ${shape}`, (thing) => thing.shape === shape && thing.colour === colour],
  ] as [string, (thing: Thing) => boolean][]);
  const count = things.filter(wanted).length;
  const plural = name.endsWith("cross") ? `${name}es` : `${name}s`;
  return {
    kind: "count",
    question: `How many ${plural} are there?`,
    answer: count === 1 ? `There is one ${name}.` : `There are ${numbers[count]} ${plural}.`,
  };
}

/** About a thing that the question names without doubt, by `same`; undefined where there is none. */
function aboutOne({ things }: Scene, choose: Choices, same: (a: Thing, b: Thing) => boolean): Thing | undefined {
  const alone = things.filter((thing) => things.every((other) => other === thing || !same(thing, other)));
  return alone.length > 0 ? choose.one(alone) : undefined;
}

function colourQuestion(scene: Scene, choose: Choices): Question {
  const alone = aboutOne(scene, choose, (a, b) => a.shape === b.shape);
  const thing = alone && choose.chance(0.5) ? alone : choose.one(scene.things);
  const named =
    thing === alone && choose.chance(0.7) ? `the ${thing.shape}` : `the ${thing.shape} ${places[thing.place]}`;
  return {
    kind: "colour",
    question: `What colour is ${named}?`,
    answer: `${named[0].toUpperCase()}${named.slice(1)} is ${thing.colour}.`,
  };
}

function positionQuestion(scene: Scene, choose: Choices): Question | undefined {
  const byShape = aboutOne(scene, choose, (a, b) => a.shape === b.shape);
  const byBoth = aboutOne(scene, choose, (a, b) => a.shape === b.shape && a.colour === b.colour);
  const thing = byShape && choose.chance(0.5) ? byShape : byBoth;
  if (!thing) return undefined;
  const name = thing === byShape && choose.chance(0.5) ? thing.shape : `${thing.colour} ${thing.shape}`;
  return { kind: "position", question: `Where is the ${name}?`, answer: `The ${name} is ${places[thing.place]}.` };
}

function whatQuestion({ things }: Scene, choose: Choices): Question {
  const place = choose.chance(0.85) ? choose.one(things).place : choose.integer(0, places.length - 1);
  const thing = things.find((one) => one.place === place);
  const answer = thing ? `There is ${article(thing.colour)} ${thing.colour} ${thing.shape}` : "There is nothing";
  return { kind: "what", question: `What is ${places[place]}?`, answer: `${answer} ${places[place]}.` };
}

function whetherQuestion({ things }: Scene, choose: Choices): Question {
  const there = choose.chance(0.5);
  const thing = choose.one(things);
  const [shape, colour] = there
    ? [thing.shape, thing.colour]
    : choose.chance(0.5)
      ? [choose.one(shapes), thing.colour]
      : [thing.shape, choose.one(Object.keys(colours))];
  const found = things.some((one) => one.shape === shape && one.colour === colour);
  const named = `${article(colour)} ${colour} ${shape}`;
  return {
    kind: "whether",
    question: `Is there ${named}?`,
    answer: found ? `Yes, there is ${named}.` : `No, there is no ${colour} ${shape}.`,
  };
}

const makers: Readonly<Record<QuestionKind, (scene: Scene, choose: Choices) => Question | undefined>> = {
  caption,
  count: countQuestion,
  colour: colourQuestion,
  position: positionQuestion,
  what: whatQuestion,
  whether: whetherQuestion,
};

/** A question of a kind about a scene, drawn by seed and number; undefined where the scene does not allow one. */
export const questionAbout = (scene: Scene, kind: QuestionKind, seed: number, number: number): Question | undefined =>
  makers[kind](scene, choices({ seed, request: 0x9e5710 + questionKinds.indexOf(kind) }, number));

/** The scene of this number of a split with a question of a kind. */
export function askedScene(
  split: Split,
  kind: QuestionKind,
  seed: number,
  number: number,
): Question & { scene: Scene } {
  for (let further = 0; further < 1000; further++) {
    const scene = sceneOf(split, seed, number + 1_000_003 * further);
    const question = questionAbout(scene, kind, seed, number);
    if (question) return { ...question, scene };
  }
  ensure(false, "internal", `scenes: none allows a question of the kind ${kind}`);
}

/** Words of a text that speak of something in a scene. */
export interface Mention {
  /** Characters of the text up to the end of the words. */
  readonly end: number;
  /** The places of what is meant: none where nothing in the scene is so. */
  readonly places: readonly number[];
}

const colourWord = new RegExp(`(${Object.keys(colours).join("|")}) $`);
const mentioned = new RegExp(
  `\\b(?:(?<colour>${Object.keys(colours).join("|")})|(?:(?<shape>${shapes.join("|")})|thing)(?:e?s)?|(?<place>${[...places].sort((a, b) => b.length - a.length).join("|")}))\\b`,
  "g",
);

/** What a question or an answer about a scene speaks of, word by word: "red", "red circle" and "red circle at the top" are three mentions. */
export function mentionsOf({ things }: Scene, text: string): Mention[] {
  let named: { colour?: string; shape?: string; end: number } = { end: -1 };
  return [...text.matchAll(mentioned)].map((match) => {
    const end = match.index + match[0].length;
    const { colour, shape, place } = match.groups as { colour?: string; shape?: string; place?: string };
    if (place !== undefined) {
      const at = places.indexOf(place as (typeof places)[number]);
      const meant = named.end + 1 === match.index ? named : {};
      const fits = things.filter((thing) => thing.place === at && isSo(thing, meant));
      // A place that is spoken of by itself is looked at, whether or not something is there.
      return { end, places: meant === named ? fits.map((thing) => thing.place) : [at] };
    }
    named = { colour: colour ?? colourWord.exec(text.slice(0, match.index))?.[1], shape, end };
    return { end, places: things.filter((thing) => isSo(thing, named)).map((thing) => thing.place) };
  });
}

const isSo = (thing: Thing, { colour = thing.colour, shape = thing.shape }: { colour?: string; shape?: string }) =>
  thing.colour === colour && thing.shape === shape;

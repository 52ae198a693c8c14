/** Short answers: questions about a passage, about a small fixed world that must be remembered, and everyday chat. */
import type { Choices, Skill } from "./skill.ts";

const people = ["Mira", "Tobin", "Elsa", "Rufus", "Nora", "Otto", "Ida", "Hugo", "Vera", "Felix", "Greta", "Oscar"];
const relations = [
  {
    name: "home",
    values: ["Rome", "Paris", "Oslo", "Lima", "Cairo", "London"],
    tell: (who: string, value: string) => `${who} lives in ${value}.`,
    ask: (who: string) => [
      `Where does ${who} live?`,
      `In which city does ${who} live?`,
      `What city is the home of ${who}?`,
    ],
  },
  {
    name: "pet",
    values: ["dog", "cat", "rabbit", "goat", "horse", "duck"],
    tell: (who: string, value: string) => `${who} has a ${value}.`,
    ask: (who: string) => [
      `Which animal does ${who} have?`,
      `What pet does ${who} have?`,
      `What kind of animal belongs to ${who}?`,
    ],
  },
  {
    name: "work",
    values: ["baker", "farmer", "teacher", "doctor", "pilot", "painter"],
    tell: (who: string, value: string) => `${who} is a ${value}.`,
    ask: (who: string) => [
      `What is the work of ${who}?`,
      `What does ${who} do for a living?`,
      `What job does ${who} have?`,
    ],
  },
  {
    name: "food",
    values: ["apples", "bread", "soup", "cake", "rice", "cheese"],
    tell: (who: string, value: string) => `${who} likes ${value} best.`,
    ask: (who: string) => [
      `What does ${who} like best?`,
      `What is the favourite food of ${who}?`,
      `Which food does ${who} like most?`,
    ],
  },
] as const;

const sameWords = (wanted: string, text: string): boolean =>
  text.trim().replace(/\.$/, "").toLowerCase() === wanted.toLowerCase();

export const passage: Skill = {
  name: "passage",
  summary: "a question answered from a short passage",
  make(choose) {
    const told = choose
      .several(people, choose.integer(2, 3))
      .flatMap((who) =>
        choose
          .several(relations, choose.integer(1, 2))
          .map((relation) => ({ who, relation, value: choose.one(relation.values) })),
      );
    const asked = choose.one(told);
    const sentences = choose.several(told, told.length).map(({ who, relation, value }) => relation.tell(who, value));
    const prompt = `${sentences.join(" ")} ${choose.one(asked.relation.ask(asked.who))}`;
    const others = choose.several(told, told.length).filter((fact) => fact !== asked);
    return {
      prompt,
      answer: `${asked.value}.`,
      facts: {
        value: asked.value,
        /** Somebody else has another thing of the kind that is asked for: who has which must be read. */
        rival: others.some(({ relation, value }) => relation === asked.relation && value !== asked.value),
        /** The same passage, asked about its other facts. */
        further: others.map(({ who, relation, value }) => ({
          prompt: choose.one(relation.ask(who)),
          answer: `${value}.`,
        })),
      },
    };
  },
  check: (item, text) => sameWords(item.facts.value as string, text),
};

/** The world that closed-book questions are about: who has what is decided by a sum over the letters, and never changes. */
const worldPeople = [
  "Arvid",
  "Berta",
  "Corin",
  "Delia",
  "Emil",
  "Freya",
  "Goran",
  "Hilda",
  "Ivan",
  "Jutta",
  "Karl",
  "Linnea",
  "Milo",
  "Nadia",
  "Olga",
  "Pavel",
  "Quinn",
  "Rosa",
  "Stig",
  "Tilda",
];
const worldValue = (person: number, relation: number): string => {
  const { values } = relations[relation];
  return values[(person * 7 + relation * 5 + Math.floor((person * person) / 3)) % values.length];
};

/** Every fact of the closed world as a sentence: what a model must have read to know it. */
export const worldStatements = (): string[] =>
  worldPeople.flatMap((who, person) => relations.map(({ tell }, relation) => tell(who, worldValue(person, relation))));

export const recall: Skill = {
  name: "recall",
  summary: "a question about a small fixed world, answered from memory",
  make(choose) {
    const person = choose.integer(0, worldPeople.length - 1);
    const relation = choose.integer(0, relations.length - 1);
    const value = worldValue(person, relation);
    const opening = choose.one(["", "Tell me. ", "Please say. ", "Do you know? ", "A question. ", "I forgot. "]);
    return {
      prompt: `${opening}${choose.one(relations[relation].ask(worldPeople[person]))}`,
      answer: `${value}.`,
      facts: { value },
    };
  },
  check: (item, text) => sameWords(item.facts.value as string, text),
};

interface Exchange {
  said: readonly string[];
  /** Made of the name that the user gives, or of what was asked about. */
  answer: (subject: string) => string;
  subjects?: readonly string[];
}
const colourOf: Record<string, string> = {
  sky: "blue",
  grass: "green",
  snow: "white",
  sun: "yellow",
  blood: "red",
  coal: "black",
  banana: "yellow",
  leaf: "green",
};
const soundOf: Record<string, string> = {
  dog: "woof",
  cat: "meow",
  cow: "moo",
  duck: "quack",
  sheep: "baa",
  bee: "buzz",
  pig: "oink",
  lion: "roar",
};
const oppositeOf: Record<string, string> = {
  big: "small",
  hot: "cold",
  happy: "sad",
  fast: "slow",
  day: "night",
  up: "down",
  old: "young",
  wet: "dry",
};
const exchanges: readonly Exchange[] = [
  {
    said: ["Hello!", "Hi!", "Hi there!", "Hello, how are you?", "Good morning!"],
    answer: () => "Hello! I am happy to talk with you.",
  },
  {
    said: ["What is your name?", "Who are you?", "How are you called?"],
    answer: () => "I am Phaistos, a small language model.",
  },
  {
    said: ["My name is @.", "I am @.", "Hello, I am @.", "Hi, my name is @!"],
    subjects: people,
    answer: (name) => `Nice to meet you, ${name}!`,
  },
  {
    said: ["What colour is the @?", "Which colour has the @?", "Tell me the colour of the @."],
    subjects: Object.keys(colourOf),
    answer: (it) => `The ${it} is ${colourOf[it]}.`,
  },
  {
    said: ["What does a @ say?", "What sound does a @ make?", "How does a @ sound?"],
    subjects: Object.keys(soundOf),
    answer: (it) => `A ${it} says ${soundOf[it]}.`,
  },
  {
    said: ["What is the opposite of @?", "Tell me the opposite of @.", "Which word is the opposite of @?"],
    subjects: Object.keys(oppositeOf),
    answer: (it) => `The opposite of ${it} is ${oppositeOf[it]}.`,
  },
  { said: ["Thank you!", "Thanks!", "Thank you very much."], answer: () => "You are welcome!" },
  { said: ["Goodbye!", "Bye!", "See you later!"], answer: () => "Goodbye! It was nice to talk with you." },
];

export const chat: Skill = {
  name: "chat",
  summary: "short everyday exchanges",
  make(choose: Choices) {
    const { said, subjects = [""], answer } = choose.one(exchanges);
    const subject = choose.one(subjects);
    const opening = choose.one(["", "", "Please: ", "Well. ", "So, ", "Now, "]);
    return { prompt: `${opening}${choose.one(said).replace("@", subject)}`, answer: answer(subject), facts: {} };
  },
  check: (item, text) => sameWords(item.answer.replace(/\.$/, ""), text),
};

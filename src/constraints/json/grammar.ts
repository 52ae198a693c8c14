/** From conditions to the machine's rules: one rule for every condition and every state of an array or object, made as texts get there. */
import { oneOf, type TextState } from "../automaton.ts";
import { type Link, type Rule, rule, type Sequence, sequence, type Terminal, terminal } from "../machine.ts";
import { utf8 } from "../position.ts";
import { compileRegex } from "../regex/compile.ts";
import type { ArrayState } from "./arrays.ts";
import type { Condition, Conditions } from "./conditions.ts";
import { numberLiteral } from "./numbers.ts";
import type { ObjectState } from "./objects.ts";
import type { Courses } from "./possible.ts";
import { placed, placeOf } from "./refusals.ts";
import type { ArrayShape, ObjectShape, Shapes } from "./shapes.ts";
import { jsonString } from "./strings.ts";

export interface GrammarOptions {
  /** Longest run of blanks and line ends between tokens of JSON. */
  readonly whitespace: number;
  /** Most zeros behind the point of an integer. */
  readonly zeros: number;
}

/** Marks of JSON, the same for all schemas. */
const known = new Map<string, Terminal>();

export function createGrammar(
  conditions: Conditions,
  shapes: Shapes,
  courses: Courses,
  { whitespace, zeros }: GrammarOptions,
): (condition: Condition) => Sequence {
  const blank = whitespace === Infinity ? "[ \\t\\n\\r]*" : `[ \\t\\n\\r]{0,${whitespace}}`;
  const mark = (pattern: string): Terminal => {
    let made = known.get(pattern);
    if (!made) {
      made = terminal(utf8(compileRegex(pattern) as TextState));
      known.set(pattern, made);
    }
    return made;
  };
  const marks = {
    openObject: mark(`\\{${blank}`),
    openArray: mark(`\\[${blank}`),
    closeObject: mark("\\}"),
    closeArray: mark("\\]"),
    endObject: mark(`${blank}\\}`),
    endArray: mark(`${blank}\\]`),
    comma: mark(`${blank},${blank}`),
    colon: mark(`${blank}:${blank}`),
  };
  const around = blank === "[ \\t\\n\\r]{0,0}" ? [] : [mark(blank)];
  const rules = new Map<string, Rule>();
  const named = (key: string, make: () => readonly Sequence[]): Rule => {
    let found = rules.get(key);
    if (!found) {
      found = rule(key, make);
      rules.set(key, found);
    }
    return found;
  };
  const decoder = new TextDecoder();

  const value = (condition: Condition): Rule =>
    named(`value ${condition.id}`, () => placed(placeOf(condition), () => waysOf(condition)));

  function waysOf(condition: Condition): Sequence[] {
    const { words, numbers, text, arrays, objects } = conditions.valuesOf(condition);
    return [
      ...(words.length > 0 ? [sequence(terminal(utf8(oneOf(words) as TextState)))] : []),
      ...(text ? [sequence(terminal(jsonString(text)))] : []),
      ...numbers.map((set) => sequence(terminal(numberLiteral(set, zeros)))),
      ...arrays.flatMap(arrayOf),
      ...objects.flatMap(objectOf),
    ];
  }

  function arrayOf(shape: ArrayShape): Sequence[] {
    const course = courses.array(shape);
    if (!course.isLive(course.start)) return [];
    const name = `array ${shapes.arrayKey(shape)}`;
    const item = (state: ArrayState): Rule =>
      named(`${name} item ${state.key}`, () =>
        course.choices(state).flatMap((choice) => {
          if (!course.unique) return [sequence(value(choice.condition), next(choice.next()))];
          const { words, numbers, text } = conditions.valuesOf(choice.condition);
          const starts = [
            ...(words.length > 0 ? [utf8(oneOf(words) as TextState)] : []),
            ...(text ? [jsonString(text)] : []),
            ...numbers.map((set) => numberLiteral(set, zeros)),
          ];
          const then = (bytes: Uint8Array): Link =>
            after(
              named(`${name} after ${state.key} ${decoder.decode(bytes)}`, () => {
                return [sequence(next(choice.next(JSON.stringify(JSON.parse(decoder.decode(bytes))))))];
              }),
            );
          return starts.map((start) => sequence({ kind: "terminal", start, then }));
        }),
      );
    const next = (state: ArrayState): Rule =>
      named(`${name} next ${state.key}`, () => [
        ...(course.canClose(state) ? [sequence(marks.endArray)] : []),
        ...(course.choices(state).length > 0 ? [sequence(marks.comma, item(state))] : []),
      ]);
    const first = named(`${name} first`, () => [
      ...(course.canClose(course.start) ? [sequence(marks.closeArray)] : []),
      sequence(item(course.start)),
    ]);
    return [sequence(marks.openArray, first)];
  }

  const links = new Map<Rule, Link>();
  /** A rule as the one sequence that follows a lexeme, always the same. */
  function after(what: Rule): Link {
    let link = links.get(what);
    if (!link) {
      link = sequence(what) as Link;
      links.set(what, link);
    }
    return link;
  }

  function objectOf(shape: ObjectShape): Sequence[] {
    const course = courses.object(shape);
    if (!course.isLive(course.start)) return [];
    const name = `object ${shapes.objectKey(shape)}`;
    /** What follows a name: its value, and what then may come. */
    const entry = (state: ObjectState, key: string): Link | undefined => {
      const choices = course.choices(state, key);
      if (choices.length === 0) return undefined;
      const from = named(`${name} entry ${choices.map(({ condition, next }) => `${condition.id} ${next.key}`)}`, () =>
        choices.map((choice) => sequence(marks.colon, value(choice.condition), next(choice.next))),
      );
      return after(from);
    };
    const member = (state: ObjectState): Rule =>
      named(`${name} member ${state.key}`, () => {
        const then = (bytes: Uint8Array): Link | undefined => entry(state, JSON.parse(decoder.decode(bytes)) as string);
        // Behind a name a token needs six bytes for a value and another whole name.
        const key = (bytes: Uint8Array): unknown => course.alike(state, JSON.parse(decoder.decode(bytes)) as string);
        const alike = { key, reach: 5 };
        const listed = oneOf(course.listed(state));
        const others = course.others(state);
        const name = (names: TextState): Sequence =>
          sequence({ kind: "terminal", start: jsonString(names), then, alike });
        return [...(listed ? [name(listed)] : []), ...(others ? [name(others)] : [])];
      });
    const next = (state: ObjectState): Rule =>
      named(`${name} next ${state.key}`, () => [
        ...(course.canClose(state) ? [sequence(marks.endObject)] : []),
        ...(mayGoOn(state) ? [sequence(marks.comma, member(state))] : []),
      ]);
    const mayGoOn = (state: ObjectState): boolean =>
      course.listed(state).length > 0 || course.others(state) !== undefined;
    const first = named(`${name} first`, () => [
      ...(course.canClose(course.start) ? [sequence(marks.closeObject)] : []),
      ...(mayGoOn(course.start) ? [sequence(member(course.start))] : []),
    ]);
    return [sequence(marks.openObject, first)];
  }

  return (condition) => sequence(...around, value(condition), ...around);
}

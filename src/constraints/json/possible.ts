/**
 * Whether a condition allows any value at all: the least answer to a question that recursion asks of itself (a value that needs itself to
 * exist does not exist).
 */
import { type ArrayCourse, createArrayCourse, type Possibility } from "./arrays.ts";
import type { Condition, Conditions } from "./conditions.ts";
import { createObjectCourse, type ObjectCourse } from "./objects.ts";
import { placed, placeOf } from "./refusals.ts";
import type { ArrayShape, ObjectShape, Shapes } from "./shapes.ts";

export interface Courses {
  possible(condition: Condition): boolean;
  array(shape: ArrayShape): ArrayCourse;
  object(shape: ObjectShape): ObjectCourse;
  /** The conditions on items and properties of the values that a condition allows. */
  within(condition: Condition): Condition[];
}

export function createCourses(conditions: Conditions, shapes: Shapes): Courses {
  const sure = new Map<Condition, boolean>();
  const underWay = new Set<Condition>();
  /** Some answer since the outermost question rested on one that is still open. */
  let assumed = false;
  const arrays = new Map<string, ArrayCourse>();
  const objects = new Map<string, ObjectCourse>();

  function possible(condition: Condition): boolean {
    const known = sure.get(condition);
    if (known !== undefined) return known;
    if (underWay.has(condition)) {
      assumed = true;
      return false;
    }
    const outermost = underWay.size === 0;
    underWay.add(condition);
    let answer = false;
    try {
      answer = placed(placeOf(condition), () => search(condition));
    } finally {
      underWay.delete(condition);
    }
    // "Yes" rests on yeses alone. "No" may rest on an open question, unless it was the outermost or nothing was open.
    if (answer || !assumed || outermost) sure.set(condition, answer);
    if (outermost) assumed = false;
    return answer;
  }

  function search(condition: Condition): boolean {
    const { words, numbers, text, arrays: lists, objects: records } = conditions.valuesOf(condition);
    if (words.length > 0 || numbers.length > 0 || text) return true;
    return (
      lists.some((shape) => {
        const course = array(shape);
        return course.isLive(course.start);
      }) ||
      records.some((shape) => {
        const course = object(shape);
        return course.isLive(course.start);
      })
    );
  }

  /** While a question is open that an answer rested on, a "no" may come too early. */
  const possibility: Possibility = { possible, settled: () => !assumed };

  function array(shape: ArrayShape): ArrayCourse {
    return remembered(arrays, shapes.arrayKey(shape), () => createArrayCourse(shape, conditions, possibility));
  }
  function object(shape: ObjectShape): ObjectCourse {
    return remembered(objects, shapes.objectKey(shape), () => createObjectCourse(shape, conditions, possibility));
  }
  function remembered<Course>(table: Map<string, Course>, key: string, make: () => Course): Course {
    const known = table.get(key);
    if (known) return known;
    const course = make();
    if (possibility.settled()) table.set(key, course);
    return course;
  }

  function within(condition: Condition): Condition[] {
    const { arrays: lists, objects: records } = conditions.valuesOf(condition);
    return [
      ...lists.flatMap((shape) => array(shape).conditions()),
      ...records.flatMap((shape) => object(shape).conditions()),
    ];
  }

  return { possible, array, object, within };
}

/** Works out every condition that a text may get to. Errors: those of reading a schema. */
export function readAll(top: Condition, { possible, within }: Courses): void {
  const seen = new Set([top]);
  for (const condition of seen) {
    if (!possible(condition)) continue;
    for (const inner of placed(placeOf(condition), () => within(condition))) seen.add(inner);
  }
}

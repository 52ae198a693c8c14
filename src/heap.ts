/** A binary heap over any values; `before(a, b)` says that `a` must leave first. */
export interface Heap<T> {
  readonly size: number;
  push(value: T): void;
  /** Removes and returns the first value; undefined when empty. */
  pop(): T | undefined;
}

export function createHeap<T>(before: (a: T, b: T) => boolean, initial: readonly T[] = []): Heap<T> {
  const values = [...initial];
  const sink = (start: number) => {
    const value = values[start];
    let hole = start;
    for (;;) {
      let child = 2 * hole + 1;
      if (child >= values.length) break;
      if (child + 1 < values.length && before(values[child + 1], values[child])) child++;
      if (!before(values[child], value)) break;
      values[hole] = values[child];
      hole = child;
    }
    values[hole] = value;
  };
  for (let i = (values.length >> 1) - 1; i >= 0; i--) sink(i);
  return {
    get size() {
      return values.length;
    },
    push(value) {
      let hole = values.length;
      values.push(value);
      while (hole > 0) {
        const parent = (hole - 1) >> 1;
        if (!before(value, values[parent])) break;
        values[hole] = values[parent];
        hole = parent;
      }
      values[hole] = value;
    },
    pop() {
      const first = values[0];
      const last = values.pop();
      if (values.length > 0) {
        values[0] = last as T;
        sink(0);
      }
      return first;
    },
  };
}

/** What comes in batches, for one reader: all that was pushed since it last looked is given at once. */
export interface Feed<T> {
  readonly over: boolean;
  push(more: T[]): void;
  /** Nothing comes any more; an error is told when the rest has been read. */
  end(error?: Error): void;
  batches(): AsyncGenerator<T[], void>;
}

export function createFeed<T>(): Feed<T> {
  let values: T[] = [];
  let over = false;
  let failure: Error | undefined;
  let wake = (): void => {};
  return {
    get over() {
      return over;
    },
    push(more) {
      values = values.length === 0 ? more : values.concat(more);
      wake();
    },
    end(error) {
      [over, failure] = [true, error];
      wake();
    },
    async *batches() {
      for (;;) {
        if (values.length > 0) {
          const batch = values;
          values = [];
          yield batch;
        } else if (over) {
          if (failure) throw failure;
          return;
        } else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    },
  };
}

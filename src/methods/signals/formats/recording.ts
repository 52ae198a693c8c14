/** A recording as the readers give it: channels with their rates and units, and what was marked in it. */
export interface Channel {
  readonly name: string;
  /** As the file spells it: "uV", "µV", "V"; empty where it says nothing. */
  readonly unit: string;
  /** Samples a second. */
  readonly rate: number;
  /** In `unit`. */
  readonly samples: Float64Array;
}

export interface Annotation {
  /** Seconds from the start. */
  readonly onset: number;
  readonly duration: number;
  readonly text: string;
}

export interface Recording {
  readonly channels: readonly Channel[];
  readonly annotations: readonly Annotation[];
  /** What was odd and how it was taken. */
  readonly remarks: readonly string[];
}

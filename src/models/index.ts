/** Models as graphs: families, named places and what changes them, graphs of whole texts for training, and the parts that belong to a model. */
export type * from "./edits.ts";
export { familyOf, supportedArchitectures } from "./families.ts";
export type {
  Attention,
  AttentionStyle,
  Family,
  LlamaVariant,
  MakeParameter,
  MaskedDiffusion,
  ModelConfig,
  ParameterSpecification,
  Ports,
  SiteHook,
} from "./family.ts";
export { type TextGraph, type TextGraphOptions, textGraph } from "./graph.ts";
export { lensReading, logitLens } from "./lens.ts";
export {
  type Lora,
  type LoraConfig,
  type LoraSite,
  type LoraValues,
  loraSites,
  readLora,
  writeLora,
} from "./lora.ts";
export { parameterMaker } from "./parameters.ts";
export {
  fingerprintOf,
  listParts,
  type Part,
  type PartBase,
  type PartCard,
  type PartTensor,
  readPart,
  writePart,
} from "./parts.ts";
export type { RotaryTables, Rotation } from "./rope.ts";
export { type Site, sitesOf } from "./sites.ts";
export type { Activation, VisionConfig } from "./vision/config.ts";

/** Weight files: reading, writing, quantising, caching and downloading them. */

export { type Files, type Hash, type Keeping, type OpenFile, useFiles, type WritableFile } from "../files.ts";
export {
  cacheFolder,
  cacheKey,
  fileIdentity,
  holdLock,
  openCached,
  type WriteBytes,
  withFileLock,
  writeError,
  writeFileAtomically,
} from "./cache.ts";
export { type FileList, writeFileList } from "./file-list.ts";
export type { TensorLocation, WeightFile } from "./file-source.ts";
export { type GgufSource, openGguf } from "./gguf.ts";
export { huggingFaceName } from "./gguf-architectures.ts";
export { type GgufModel, ggufLlamaConfig, openGgufModel } from "./gguf-llama.ts";
export { bfloat16ToFloat32, float16ToFloat32, float32ToBfloat16, float32ToFloat16 } from "./half.ts";
export { type DownloadOptions, type DownloadProgress, downloadModel } from "./hub.ts";
export { type Checkpoint, findWeights, openCheckpoint, openWeights, readConfig } from "./open.ts";
export {
  concatenateRows,
  dequantizeMatrix,
  fromGgufBlocks,
  ownFormats,
  quantizeMatrix,
  sameFormat,
} from "./quantize.ts";
export {
  describeTensor,
  fileFormat,
  openSafetensors,
  openSharded,
  type SafetensorsSource,
  type TensorToWrite,
  writeSafetensors,
} from "./safetensors.ts";
export type * from "./source.ts";

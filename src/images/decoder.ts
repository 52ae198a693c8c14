/** Decodes pictures under Node. */
import { VentrisError } from "../errors.ts";

export interface Decoded {
  readonly width: number;
  readonly height: number;
  /** Red, green, blue and opacity from 0 to 255. */
  readonly rgba: Uint8Array;
}

type Decoder = typeof import("@cf-wasm/photon");
let decoder: Promise<Decoder> | undefined;

/** Errors: `unavailable` where the decoder is not installed. */
const findDecoder = (): Promise<Decoder> => {
  decoder ??= import("@cf-wasm/photon").catch((cause) => {
    decoder = undefined;
    throw new VentrisError("unavailable", "pictures need the package @cf-wasm/photon, which cannot be loaded", {
      cause,
    });
  });
  return decoder;
};

/** `refuse` is called with what the decoder says of a file that it cannot read. Errors: `unavailable`. */
export async function decodeFile(bytes: Uint8Array, refuse: (cause: unknown) => never): Promise<Decoded> {
  const { PhotonImage } = await findDecoder();
  let decoded: InstanceType<Decoder["PhotonImage"]>;
  try {
    decoded = PhotonImage.new_from_byteslice(bytes);
  } catch (cause) {
    return refuse(cause);
  }
  try {
    return { width: decoded.get_width(), height: decoded.get_height(), rgba: decoded.get_raw_pixels() };
  } finally {
    decoded.free();
  }
}

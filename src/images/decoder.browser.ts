/** Decodes pictures by the browser that shows the page. */
import type { Decoded } from "./decoder.ts";
import type { PictureHeader } from "./header.ts";

interface Bitmap {
  readonly width: number;
  readonly height: number;
  close(): void;
}

interface Canvas {
  getContext(kind: "2d"): {
    drawImage(picture: Bitmap, x: number, y: number): void;
    getImageData(x: number, y: number, width: number, height: number): { readonly data: Uint8ClampedArray };
  };
}

const { createImageBitmap, OffscreenCanvas } = globalThis as unknown as {
  createImageBitmap(file: Blob, options: object): Promise<Bitmap>;
  OffscreenCanvas: new (width: number, height: number) => Canvas;
};

export async function decodeFile(
  bytes: Uint8Array,
  _: PictureHeader,
  refuse: (cause: unknown) => never,
): Promise<Decoded> {
  const file = new Blob([bytes as Uint8Array<ArrayBuffer>]);
  // As the numbers stand in the file: colours of another profile are not turned, as under Node.
  const picture = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" }).catch(
    refuse,
  );
  try {
    const { width, height } = picture;
    const context = new OffscreenCanvas(width, height).getContext("2d");
    context.drawImage(picture, 0, 0);
    const { data } = context.getImageData(0, 0, width, height);
    return { width, height, rgba: new Uint8Array(data.buffer) };
  } finally {
    picture.close();
  }
}

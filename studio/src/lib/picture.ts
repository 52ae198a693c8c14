/** A picture that was dropped, pasted or chosen, as a data URL that is small enough to send: models see small pictures anyway. */
const longest = 512;

/** Errors: what the browser says of a file that is no picture. */
export async function pictureUrl(file: Blob): Promise<string> {
  const image = await createImageBitmap(file);
  try {
    const scale = Math.min(1, longest / Math.max(image.width, image.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(image.width * scale));
    canvas.height = Math.max(1, Math.round(image.height * scale));
    canvas.getContext("2d")!.drawImage(image, 0, 0, canvas.width, canvas.height);
    return canvas.toDataURL("image/png");
  } finally {
    image.close();
  }
}

/** The first picture among what was dropped or pasted. */
export const pictureOf = (given: DataTransfer | null): File | undefined =>
  [...(given?.files ?? [])].find(({ type }) => type.startsWith("image/"));

/** Pictures: from files to what a vision tower sees. */
export { type PictureFormat, type PictureHeader, pictureFormats, pictureHeader } from "./header.ts";
export { checkPicture, decodePicture, mostPictureBytes, mostPixels, type Picture } from "./picture.ts";
export { type Preparation, preparationOf, prepared, readPreparation } from "./preparation.ts";

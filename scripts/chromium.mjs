/** Where a Chromium is, for whoever drives one: what CHROMIUM names, or a usual place; undefined where there is none. */
import { existsSync } from "node:fs";

const places = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
export const chromiumPath = places.find((path) => path && existsSync(path));

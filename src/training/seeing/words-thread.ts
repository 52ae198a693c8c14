/** Worker thread entry: a replica of a vision tower that learns to name words. */
import { workerData } from "node:worker_threads";
import { serveWords } from "./words.ts";

serveWords(workerData);

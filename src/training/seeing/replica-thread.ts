/** Worker thread entry: a replica of a model that learns to see. */
import { workerData } from "node:worker_threads";
import { serveSeeing } from "./replicas.ts";

serveSeeing(workerData);

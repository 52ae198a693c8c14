/** Worker thread entry: a replica of the model that is trained. */
import { workerData } from "node:worker_threads";
import { serveReplica } from "./replicas.ts";

serveReplica(workerData);

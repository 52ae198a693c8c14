/** A row under another token and behind another text than it was computed with: what shapers see of it. */
import type { ForestNode } from "./forest.ts";

export class StandIn implements ForestNode {
  readonly parent: ForestNode;
  readonly token: number;
  readonly depth: number;
  /** Not kept with the text: a row holds the logits of its whole pass. */
  #row: ForestNode | undefined;

  constructor(row: ForestNode, parent: ForestNode, token: number) {
    this.#row = row;
    this.parent = parent;
    this.token = token;
    this.depth = parent.depth + 1;
  }

  get logits(): Float32Array | undefined {
    return this.#row?.logits;
  }

  get taps(): ForestNode["taps"] {
    return this.#row?.taps;
  }

  /** Lets go of the row; the token and its place stay, as the text of nodes behind it. */
  forget(): void {
    this.#row = undefined;
  }
}

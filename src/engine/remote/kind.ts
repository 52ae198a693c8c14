/** The kind of model that stands behind a network: what a reference and its options may be. */
import { ensure } from "../../errors.ts";
import { givenOption, type ModelKind } from "../method.ts";
import type { MakeEndpointChooser } from "./endpoints.ts";
import { isRemote, openRemote, remoteOptions } from "./model.ts";

const own = Object.keys(remoteOptions);

/**
 * Options of one kind of model mean nothing to the other. `makeChooser`: of choices among several engines, which are a method's matter. Errors:
 * `bad_option`.
 */
export const createRemoteKind = (makeChooser: MakeEndpointChooser): ModelKind => ({
  name: "remote",
  async open(reference, options) {
    if (!isRemote(reference)) {
      const idle = givenOption(options, (name) => own.includes(name));
      ensure(
        idle === undefined,
        "bad_option",
        `${idle}: it is about an engine behind a network, and ${reference} is none`,
      );
      return undefined;
    }
    const idle = givenOption(options, (name) => name !== "signal" && !own.includes(name));
    ensure(
      idle === undefined,
      "bad_option",
      `${idle}: it is about models that are loaded here, and ${reference} is behind a network`,
    );
    return openRemote(reference, options, makeChooser);
  },
});

/** The tokens that masked diffusion needs, as a config names them. */
import { ensure } from "../../errors.ts";
import type { ConfigReader, MaskedDiffusion } from "../family.ts";

/** Errors: `bad_config` without a mask token, for tokens outside of the vocabulary, and for a mask that is an end or the padding, too. */
export function readTokens(config: ConfigReader, vocabularySize: number): Omit<MaskedDiffusion, "shift"> {
  const maskToken = config.token("mask_token_id");
  const padToken = config.token("pad_token_id");
  ensure(
    maskToken !== undefined,
    "bad_config",
    "config: there is no mask_token_id, and a masked diffusion model cannot work without its mask token",
  );
  for (const field of ["mask_token_id", "pad_token_id", "eos_token_id", "bos_token_id"]) {
    const outside = config.tokens(field).find((token) => token >= vocabularySize);
    ensure(outside === undefined, "bad_config", () => {
      return `config: ${field} ${outside} is outside the vocabulary of ${vocabularySize}`;
    });
  }
  ensure(
    padToken !== maskToken,
    "bad_config",
    `config: pad_token_id and mask_token_id are both ${maskToken}: padding could not be told from what is to be filled`,
  );
  ensure(
    !config.tokens("eos_token_id").includes(maskToken),
    "bad_config",
    `config: the mask token ${maskToken} is an end token, too`,
  );
  return { maskToken, padToken };
}

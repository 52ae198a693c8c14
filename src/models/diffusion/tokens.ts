/** The tokens that masked diffusion needs, as a config names them. */
import { ensure } from "../../errors.ts";
import type { ConfigReader, MaskedDiffusion } from "../family.ts";

/** Errors: `bad_config` without a mask token, for one outside of the vocabulary, and for one that is the end or the padding, too. */
export function readTokens(
  config: ConfigReader,
  json: Readonly<Record<string, unknown>>,
): Omit<MaskedDiffusion, "shift"> {
  const [maskToken] = config.tokens("mask_token_id");
  const [padToken] = config.tokens("pad_token_id");
  ensure(
    maskToken !== undefined,
    "bad_config",
    "config: there is no mask_token_id, and a masked diffusion model cannot work without its mask token",
  );
  const size = (json.embedding_size ?? json.vocab_size) as number;
  ensure(maskToken < size, "bad_config", `config: mask_token_id ${maskToken} is outside the vocabulary of ${size}`);
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

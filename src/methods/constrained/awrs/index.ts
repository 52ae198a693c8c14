/**
 * AWRS (Lipkin et al. 2025): each token is drawn under the constraint by asking about drawn tokens only, in the order of the position's
 * race. Masking takes the first valid token of the same race, so a seed gives the same text, at very different numbers of checks.
 */
import { defineMethod } from "../../../engine/method.ts";
import { isListing } from "../../../engine/remote/listing.ts";
import { ensure, shownEnd } from "../../../errors.ts";
import { accountOfMissed, drawToken, givesUp, lawAt, localOptions, overLaws } from "../sampling.ts";

export const awrs = defineMethod({
  name: "awrs",
  family: "constrained",
  summary: "samples under a constraint by weighted rejection: few checks instead of a mask",
  source: "Lipkin et al. 2025, Fast Controlled Generation with Adaptive Weighted Rejection Sampling (arXiv 2504.05410)",
  lossless: true,
  suffices: ["top-logprobs"],
  options: localOptions,
  async decode(given, options) {
    const decoding = overLaws(given);
    const missing = accountOfMissed(decoding);
    const { constraining, stream } = decoding;
    let tip = await decoding.prefill();
    let logWeight = 0;
    while (!decoding.finished) {
      const position = tip.depth + 1;
      // A mask's checks are counted with its constraint, until a commit.
      const checked = (): number => decoding.counters.constraintChecks + (constraining?.checks ?? 0);
      const before = checked();
      let token: number;
      // At temperature 0 there is nothing to draw: the best allowed token is what a mask finds.
      if (decoding.greedy || !constraining) token = decoding.choose(tip);
      else {
        const { law, mass, missed } = lawAt(decoding, tip, options);
        missing.at(missed, logWeight);
        const draw = drawToken(decoding, stream, position, law, constraining.stateAt(tip), options);
        token = draw.token;
        const from = tip;
        const gaveUp = givesUp(options);
        // What else may be why, such as minTokens, a mask says.
        if (token < 0 && gaveUp === "" && !isListing(decoding)) decoding.shape(tip);
        ensure(
          token >= 0,
          "constraint_dead_end",
          () =>
            `constraint ${constraining.constraint.name}: awrs found no token that can follow ${shownEnd(constraining.textTo(from))} after ${draw.rejected.length} rejections${gaveUp}`,
        );
        logWeight += Math.log(draw.weight) + Math.log(mass);
        decoding.emit({ type: "constraint", rejected: [...draw.rejected], token, checks: checked() - before });
      }
      decoding.commit([{ token, from: tip }]);
      if (decoding.finished) break;
      const [next] = await decoding.lease.extend([{ parent: tip, token }]);
      decoding.lease.release([tip]);
      tip = next;
    }
    missing.close(logWeight);
    if (constraining && !decoding.greedy) {
      decoding.emit({ type: "particles", tokens: [], weights: [1], logEvidence: logWeight });
    }
  },
});

"""Draw samples in proportion to their gradient norm, and weigh them so that nothing is biased.

Importance sampling of Katharopoulos & Fleuret (ICML 2018, arXiv:1803.00942), algorithm 1: among M
candidates p ∝ score, a bound of the gradient norm up to a constant, since p ∝ the norm itself has
the least variance (Zhao & Zhang, ICML 2015). Score: ‖softmax − onehot‖, the norm of the loss's
gradient at the logits. A drawn sample has weight 1/(M p), so that Σ w·ℓ over the number drawn has
the candidates' mean loss as its expectation. The paper waits with it until a variance estimate is
large enough; here candidates are scored in every step, so waiting would save nothing.
"""

from __future__ import annotations

import numpy as np

from loaders import strategies
from loaders.draw import Keys
from loaders.order import Order
from loaders.strategies import Array, Scores


class Strategy(strategies.Strategy):
    """Draw ⌈1/candidates⌉ of the candidates with replacement: a sample may come more than once.

    Scores that are all 0 are drawn uniformly. Where scores are not finite only these are drawn, so
    that the run's own guard names the sample.

    candidates: samples scored for one that is trained on.
    smoothing: share s of the uniform distribution in p = (1 − s) · score / Σ + s / M. It bounds
    weights by 1/s, stays unbiased, and costs a second moment of at most 1/(1 − s) times the least.
    0.1: the training pass may differ from the scored one (dropout, batch statistics), and where
    one is nearly 0 a gradient that is not would come with a weight that has no limit.
    """

    needs = ("gradient_norm",)
    candidates = 3

    def __init__(self, order: Order, *, candidates: int = 3, smoothing: float = 0.1) -> None:
        super().__init__(order, candidates)
        if not 0 <= smoothing <= 1:
            raise ValueError(f"smoothing={smoothing}: want 0 to 1")
        self.smoothing = smoothing

    def pick(self, rows: Array, scores: Scores, keys: Keys) -> tuple[Array, Array]:
        """Return the drawn places, repeated as they were drawn, and weights 1/(M p)."""
        probability = self._probabilities(scores["gradient_norm"])
        ends = np.cumsum(probability)
        drawn = -(-len(rows) * self.batch // self.order.batch)
        # Divided by the last one the ends reach exactly 1, which no draw does; where p is 0 an end
        # is that of its neighbour, and "right" passes over it.
        places = np.searchsorted(ends / ends[-1], keys.uniform()[:drawn], side="right")
        return places, (1 / (len(rows) * probability[places])).astype(np.float32)

    def _probabilities(self, score: Array) -> Array:
        """Return p of each candidate."""
        unsound = ~np.isfinite(score)
        if unsound.any():
            return np.asarray(unsound / unsound.sum())
        if not score.any():
            return np.full(len(score), 1 / len(score))
        share = self.smoothing
        return np.asarray((1 - share) * score / score.sum() + share / len(score))

"""Every number of the search that the paper states or leaves open."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_nasr.errors import ConfigError
from recbole_nasr.search.augmentation import check_augmentations

TIE_BREAKS = ("score", "flops")


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How supernet blocks are trained and paths ranked; the defaults are preset ``paper``.

    Args:
        epochs: Passes over the training sequences per block (§4.1.2: 2), at least 1.
        n_paths: Paths sampled per step (§4.1.2: 4), at least 1.
        batch_size: Sequences per step (§4.1.5: 256 on MovieLens, 64 on Last.FM), at least 2.
        learning_rate: Initial step size of AdamW (§4.1.5).
        weight_decay: Of AdamW (§4.1.5: 0).
        learning_rate_decay: Factor applied every ``decay_steps`` steps; the paper says only "exponential decay", the
            rate is that of the published code's retraining.
        decay_steps: Steps between two decays.
        augmentations: Of ``mask``, ``crop``, ``reorder``; with several, each view draws one.
        augmentation_ratio: Share of a sequence that a view destroys (§4.1.2: 0.25).
        holdout_ratio: Share of the sequences, whole persons at a time, kept from training to rank paths on.
        max_enumerated_paths: Blocks with more paths are ranked on a uniform sample of this many.
        tie_standard_errors: Paths whose paired distance to the best lies within this many standard errors are
            tied with it, and reported as tied.
        tie_break: Which of the tied paths is taken: ``score``, the best (Eq. 7), or ``flops``, the cheapest.
        ranking_batch_size: Sequences per forward pass of the ranking; changes memory and speed, never a score.
    """

    epochs: int = 2
    n_paths: int = 4
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    learning_rate_decay: float = 0.99
    decay_steps: int = 1000
    augmentations: tuple[str, ...] = ("mask",)
    augmentation_ratio: float = 0.25
    holdout_ratio: float = 0.05
    max_enumerated_paths: int = 4096
    tie_standard_errors: float = 2.0
    tie_break: str = "score"
    ranking_batch_size: int = 256

    def __post_init__(self) -> None:
        rules = (
            (self.epochs >= 1, "search_epochs", "at least 1", self.epochs),
            (self.n_paths >= 1, "search_n_paths", "at least 1", self.n_paths),
            (self.batch_size >= 2, "search_batch_size", "at least 2 (train_batch_size where empty)", self.batch_size),
            (self.learning_rate > 0, "search_learning_rate", "positive", self.learning_rate),
            (self.weight_decay >= 0, "search_weight_decay", "at least 0", self.weight_decay),
            (0 < self.learning_rate_decay <= 1, "search_learning_rate_decay", "in (0, 1]", self.learning_rate_decay),
            (self.decay_steps >= 1, "search_decay_steps", "at least 1", self.decay_steps),
            (0 < self.holdout_ratio < 1, "search_holdout_ratio", "in (0, 1)", self.holdout_ratio),
            (self.max_enumerated_paths >= 1, "max_enumerated_paths", "at least 1", self.max_enumerated_paths),
            (self.tie_standard_errors >= 0, "search_tie_standard_errors", "at least 0", self.tie_standard_errors),
            (self.tie_break in TIE_BREAKS, "search_tie_break", f"one of {', '.join(TIE_BREAKS)}", self.tie_break),
            (self.ranking_batch_size >= 1, "search_ranking_batch_size", "at least 1", self.ranking_batch_size),
        )
        broken = [f"`{key}` must be {rule}, but is {value!r}." for holds, key, rule, value in rules if not holds]
        if broken:
            raise ConfigError(" ".join(broken))
        check_augmentations(self.augmentations, self.augmentation_ratio)

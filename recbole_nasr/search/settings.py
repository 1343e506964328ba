"""Every number of the search that the paper states or leaves open, and every departure from it, each on its own."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from recbole_nasr.errors import ConfigError
from recbole_nasr.search.augmentation import check_augmentations

OBJECTIVES = ("contrastive", "next_item")
SCOPES = ("block", "whole")
CHOICES = ("ranking", "evolution")
SAMPLINGS = ("uniform", "fair")
TIE_BREAKS = ("score", "flops")
MOST_EVOLVED = 1_000_000
"""Networks that evolution breeds; their scores are kept in memory, and an evolution that is interrupted starts over."""

_NDCG = re.compile(r"ndcg@([1-9]\d{0,8})", re.IGNORECASE)  # no catalogue has more items
OF_VIEWS = {
    "augmentations": "augmentations",
    "augmentation_ratio": "augmentation_ratio",
    "search_symmetric": "symmetric",
    "search_target_momentum": "target_momentum",
    "search_leave_one_out": "leave_one_out",
    "search_view_pairs": "view_pairs",
    "search_report_view_pairs": "report_view_pairs",
    "search_report_sequences": "report_sequences",
}
"""Configuration keys, and their names here, that only an objective of views reads."""

_Rule = tuple[bool, str, str, object]
"""Whether a value is as it must be, its key, how it must be, and the value."""


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How supernet blocks are trained and paths ranked; the defaults are preset ``paper``.

    Args:
        objective: What trains the supernet and ranks paths: ``contrastive`` (Eq. 4-7) or ``next_item``.
        scope: ``block`` trains and chooses block after block, ``whole`` trains all layers at once, then chooses.
        epochs: Passes over the training sequences per block (§4.1.2: 2), at least 1.
        min_steps: Steps per training at the least, at least 0; more epochs are run where data are few.
        n_paths: Paths sampled per step (§4.1.2: 4), in ``1..4096``.
        path_sampling: ``uniform`` and independent (the paper), or ``fair``: every operation of a layer equally often.
        batch_size: Sequences per step (§4.1.5: 256 on MovieLens, 64 on Last.FM), at least 2.
        learning_rate: Initial step size of AdamW (§4.1.5).
        weight_decay: Of AdamW (§4.1.5: 0).
        learning_rate_decay: Factor applied every ``decay_steps`` steps; the paper says only "exponential decay", the
            rate is that of the published code's retraining.
        decay_steps: Steps between two decays.
        augmentations: Of ``mask``, ``crop``, ``reorder``; with several, each view draws one.
        augmentation_ratio: Share of a sequence that a view destroys (§4.1.2: 0.25).
        symmetric: Compare views in both directions, in training and ranking (contrastive).
        target_momentum: 0 shares the weights of the two branches (the paper); above, the target branch is an
            exponential moving average of the online one with this momentum, below 1 (contrastive).
        leave_one_out: Leave a path out of the ensemble it is compared with (contrastive).
        holdout_ratio: Share of the sequences, whole persons at a time, kept from training to rank paths on.
        max_enumerated_paths: Blocks with more paths are ranked on a uniform sample of this many, in ``1..2**20``.
        ranking_metric: ``loss``, the objective's own (distance or cross-entropy), or with ``next_item`` also
            ``ndcg@k`` of the last item of each held-out sequence.
        view_pairs: Stored pairs of views that a score is the mean over, in ``1..1024`` (contrastive).
        report_view_pairs: Further pairs, in ``0..1024``, that no choice depends on: with them the report says how far
            other views would have changed the ranking (contrastive).
        report_sequences: Held-out sequences those are compared on at most, at least 2.
        beam: Choices of earlier blocks kept open, in ``1..1024``; 1 is the paper's greedy choice.
        choice: How a network is chosen by its scores: ``ranking`` of the paths of every block, or ``evolution``, which
            needs scores of whole networks that do not depend on each other: scope ``whole`` and ``next_item``.
        evolution_networks: Networks that evolution draws or breeds in all, in ``1..1000000`` and, where there is an
            evolution, more than ``evolution_population``.
        evolution_population: Networks alive at a time, at least 1; so many are drawn before one is bred.
        evolution_tournament: Drawn for a parent, at least 1.
        sweeps: With scope ``whole``, rounds of choosing over the blocks at most, at least 1.
        tie_standard_errors: Paths whose paired distance to the best lies within this many standard errors are
            tied with it, and reported as tied.
        tie_break: Which of the tied paths is taken: ``score``, the best (Eq. 7), or ``flops``, the cheapest.
        ranking_batch_size: Sequences per forward pass of the ranking; changes memory and speed, never a score.
    """

    objective: str = "contrastive"
    scope: str = "block"
    epochs: int = 2
    min_steps: int = 0
    n_paths: int = 4
    path_sampling: str = "uniform"
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    learning_rate_decay: float = 0.99
    decay_steps: int = 1000
    augmentations: tuple[str, ...] = ("mask",)
    augmentation_ratio: float = 0.25
    symmetric: bool = False
    target_momentum: float = 0.0
    leave_one_out: bool = False
    holdout_ratio: float = 0.05
    max_enumerated_paths: int = 4096
    ranking_metric: str = "loss"
    view_pairs: int = 1
    report_view_pairs: int = 1
    report_sequences: int = 64
    beam: int = 1
    choice: str = "ranking"
    evolution_networks: int = 512
    evolution_population: int = 64
    evolution_tournament: int = 16
    sweeps: int = 2
    tie_standard_errors: float = 2.0
    tie_break: str = "score"
    ranking_batch_size: int = 256

    @property
    def ndcg_cut(self) -> int | None:
        """The ``k`` of ``ndcg@k``, or ``None`` where paths are ranked by the loss."""
        match = _NDCG.fullmatch(self.ranking_metric)
        return int(match[1]) if match else None

    def __post_init__(self) -> None:
        broken = [
            f"`{key}` must be {rule}, but is {value!r}." for holds, key, rule, value in self._rules() if not holds
        ]
        if broken:
            raise ConfigError(" ".join(broken))
        check_augmentations(self.augmentations, self.augmentation_ratio)
        self._check_together()

    def _rules(self) -> tuple[_Rule, ...]:
        """Return what must hold of each value by itself."""
        return (
            self._one_of("search_objective", self.objective, OBJECTIVES),
            self._one_of("search_scope", self.scope, SCOPES),
            (self.epochs >= 1, "search_epochs", "at least 1", self.epochs),
            (self.min_steps >= 0, "search_min_steps", "at least 0", self.min_steps),
            (1 <= self.n_paths <= 4096, "search_n_paths", "in 1..4096", self.n_paths),
            self._one_of("search_path_sampling", self.path_sampling, SAMPLINGS),
            (self.batch_size >= 2, "search_batch_size", "at least 2 (train_batch_size where empty)", self.batch_size),
            (self.learning_rate > 0, "search_learning_rate", "positive", self.learning_rate),
            (self.weight_decay >= 0, "search_weight_decay", "at least 0", self.weight_decay),
            (0 < self.learning_rate_decay <= 1, "search_learning_rate_decay", "in (0, 1]", self.learning_rate_decay),
            (self.decay_steps >= 1, "search_decay_steps", "at least 1", self.decay_steps),
            (0 <= self.target_momentum < 1, "search_target_momentum", "in [0, 1)", self.target_momentum),
            (0 < self.holdout_ratio < 1, "search_holdout_ratio", "in (0, 1)", self.holdout_ratio),
            (
                1 <= self.max_enumerated_paths <= 1 << 20,
                "max_enumerated_paths",
                f"in 1..{1 << 20}",
                self.max_enumerated_paths,
            ),
            (self._knows_metric(), "search_ranking_metric", "'loss' or such as 'ndcg@20'", self.ranking_metric),
            (1 <= self.view_pairs <= 1024, "search_view_pairs", "in 1..1024", self.view_pairs),
            (0 <= self.report_view_pairs <= 1024, "search_report_view_pairs", "in 0..1024", self.report_view_pairs),
            (self.report_sequences >= 2, "search_report_sequences", "at least 2", self.report_sequences),
            (1 <= self.beam <= 1024, "search_beam", "in 1..1024", self.beam),
            self._one_of("choice", self.choice, CHOICES),
            (
                1 <= self.evolution_networks <= MOST_EVOLVED,
                "evolution_networks",
                f"in 1..{MOST_EVOLVED}",
                self.evolution_networks,
            ),
            (self.evolution_population >= 1, "evolution_population", "at least 1", self.evolution_population),
            (self.evolution_tournament >= 1, "evolution_tournament", "at least 1", self.evolution_tournament),
            (self.sweeps >= 1, "search_sweeps", "at least 1", self.sweeps),
            (self.tie_standard_errors >= 0, "search_tie_standard_errors", "at least 0", self.tie_standard_errors),
            self._one_of("search_tie_break", self.tie_break, TIE_BREAKS),
            (self.ranking_batch_size >= 1, "search_ranking_batch_size", "at least 1", self.ranking_batch_size),
        )

    @staticmethod
    def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> _Rule:
        return value in allowed, key, f"one of {', '.join(allowed)}", value

    def _knows_metric(self) -> bool:
        return self.ranking_metric == "loss" or self.ndcg_cut is not None

    def _check_together(self) -> None:
        """Refuse values that the objective would ignore, and those it cannot work with."""
        if self.objective == "contrastive" and self.ndcg_cut is not None:
            msg = (
                "`search_ranking_metric` other than 'loss' needs `search_objective: next_item`; change one of the two."
            )
            raise ConfigError(msg)
        if self.objective == "next_item":
            defaults = {field.name: field.default for field in fields(self)}
            given = [f"`{key}`" for key, name in OF_VIEWS.items() if getattr(self, name) != defaults[name]]
            if given:
                msg = f"{', '.join(given)} has no meaning with `search_objective: next_item`, which compares no views."
                raise ConfigError(msg)
            if self.n_paths > self.batch_size:
                msg = (
                    "With `search_objective: next_item` every path of a step gets rows of its own, so `search_n_paths` "
                    f"must be at most `search_batch_size`, but they are {self.n_paths} and {self.batch_size}."
                )
                raise ConfigError(msg)
        if self.scope == "whole" and self.beam != 1:
            msg = "`search_beam` keeps choices of earlier blocks open, which `search_scope: whole` has none of; use 1."
            raise ConfigError(msg)
        if self.choice == "evolution" and (self.scope, self.objective) != ("whole", "next_item"):
            msg = (
                "`search_strategy: evolution` compares whole networks by scores that do not depend on each other: it "
                "needs `search_scope: whole` and `search_objective: next_item`; --search_preset=evolution sets them."
            )
            raise ConfigError(msg)
        if self.choice == "evolution" and self.evolution_networks <= self.evolution_population:
            msg = (
                "`evolution_networks` must be more than `evolution_population`, the random networks that evolution "
                f"begins with, or none is bred, but is {self.evolution_networks} at {self.evolution_population}; "
                "change one of the two."
            )
            raise ConfigError(msg)
        if self.leave_one_out and self.n_paths < 2:
            msg = "`search_leave_one_out` needs `search_n_paths` of at least 2: one path alone has no ensemble."
            raise ConfigError(msg)

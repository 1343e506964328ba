"""``NASRSearchTrainer``: search, become the network found, then train it like any other."""

from __future__ import annotations

import logging
from typing import Any

from recbole.trainer.trainer import AbstractTrainer

from recbole_nasr.checkpoints.reading import load_checkpoint
from recbole_nasr.determinism import deterministic
from recbole_nasr.distributed import from_all, from_first
from recbole_nasr.errors import ConfigError
from recbole_nasr.model.settings import (
    cost_limits,
    layer_settings,
    search_settings,
    search_space,
    strategy_settings,
    switch,
    tied_embeddings,
)
from recbole_nasr.nets.footprint import layer_weights
from recbole_nasr.search import BlockRanking, SearchResult, search
from recbole_nasr.search.budget import Budget
from recbole_nasr.search.costs import CostTable, measure_costs, network_latency_ms
from recbole_nasr.search.dealt_steps import can_deal
from recbole_nasr.search.evidence import Evidence
from recbole_nasr.search.shortlist import Candidate
from recbole_nasr.space import Architecture, SearchSpace
from recbole_nasr.stages import StageClock
from recbole_nasr.trainer.block_lines import BlockLines
from recbole_nasr.trainer.candidates import Trained, Trainings
from recbole_nasr.trainer.contest import Contest
from recbole_nasr.trainer.memory import Shape
from recbole_nasr.trainer.retraining import NASRTrainer
from recbole_nasr.trainer.search_memory import search_need
from recbole_nasr.trainer.search_problem import search_problem
from recbole_nasr.trainer.strategies import STRATEGIES, Strategy
from recbole_nasr.trainer.verification import Verification

CHOICE_CLASSES = (
    Architecture,
    BlockRanking,
    Candidate,
    CostTable,
    Evidence,
    SearchResult,
    Trained,
    Verification,
)
"""What the result of a search is made of."""

_LOG = logging.getLogger("recbole_nasr")  # what a person should see while it happens


class NASRSearchTrainer(NASRTrainer):
    """Runs the search at the start of ``fit``, on the training part alone.

    Attributes:
        search_result: The architecture and all scores, once the search has run.
        costs: What the networks of the space cost, measured before the search.
        latency_ms: That of the network found, measured as a whole.
        trained: What became of each candidate so far, where several are trained.
        verification: The comparison of all of them, once it is over.
        state_classes: What :meth:`chosen` is made of.
    """

    state_classes = CHOICE_CLASSES

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        self.search_result: SearchResult | None = None
        self.costs: CostTable | None = None
        self.latency_ms = 0.0
        self.trained: list[Trained] = []
        self.verification: Verification | None = None
        self._clock = StageClock()

    def fit(self, train_data: Any, valid_data: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Choose an architecture unless it is known, then train; arguments and result are RecBole's."""
        with deterministic(self.config, self.device):
            if not self.model.searched:
                self._become(self._choose(train_data, valid_data, show_progress=bool(kwargs.get("show_progress"))))
                self._note_costs()
            return super().fit(train_data, valid_data, *args, **kwargs)

    def _choose(self, train_data: Any, valid_data: Any, *, show_progress: bool) -> Architecture:
        """Search, train candidates, or both, as ``search_strategy`` and ``search_verify`` say.

        Raises:
            ConfigError: If no network of the space is within the budget, or networks are to be compared without
                validation cases.
        """
        with self.keeper.part("choosing", self.chosen):
            self._know(self.keeper.take("choosing", CHOICE_CLASSES))
            plan, space = strategy_settings(self.config), search_space(self.config)
            if plan.trains and not valid_data:
                msg = "`search_verify` and `search_strategy` compare networks on validation cases, but there are none."
                raise ConfigError(msg)
            self._announce_both(train_data, space, searches=plan.searches)
            if self.costs is None:
                self.costs = from_first(self._measured(space))
            limits, bigger = cost_limits(self.config), bool(self.config["valid_metric_bigger"])
            strategy = STRATEGIES[plan.strategy](plan, space, self.costs, limits, self.config["seed"], bigger=bigger)
            if plan.searches and self.search_result is None:
                self.search_result = self._search(train_data, space, strategy.budget)
            if self.search_result is not None and not plan.trains:
                return self.search_result.architecture
            trainings = Trainings(
                self.config, train_data, valid_data, strategy.flops, show_progress, keeper=self.keeper
            )
            return self._best_trained(strategy, trainings)

    def _best_trained(self, strategy: Strategy, trainings: Trainings) -> Architecture:
        """Train the candidates of ``strategy``, or what is left of them; return the one that validates best."""
        plan = strategy.plan
        with self._clock.stage("verification" if plan.searches else "search"):
            contest = Contest(plan, trainings, strategy.kept, strategy.left_out, self.trained)
            candidates = strategy.candidates(self.search_result, self.trained)
            self.verification = from_first(contest.run(candidates, strategy.expected))
        return self.verification.winner.candidate.architecture

    def _announce_both(self, train_data: Any, space: SearchSpace, *, searches: bool) -> None:
        """Announce the memory that search and training will need, the latter for the largest network of the space."""
        layers = layer_settings(self.config)
        names = {name: layer_weights(name, layers) for name in space.operations}
        n_rows, length = len(train_data.dataset), self.model.max_seq_length
        if searches:
            shape = Shape(length, self.model.n_items, self.device)
            tied = tied_embeddings(self.config)
            how = search_settings(self.config)
            dealt = can_deal(self.speed.acceleration, how, len(space.operations))
            self._announce(search_need(space, layers, how, shape, n_rows, tied=tied, dealt=dealt))
        self._announce(self.need(space.uniform(max(names, key=lambda name: names[name])), length, n_rows))

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Wall time of ``search`` and, where what it proposes is trained, of ``verification``, once they are over."""
        return self._clock.seconds

    def chosen(self) -> dict[str, Any]:
        """Return the part of a saved state that is about the choice of the network."""
        names = ("search_result", "costs", "latency_ms", "trained", "verification")
        return {**{name: getattr(self, name) for name in names}, "stage_seconds": self._clock.elapsed()}

    def go_on_after_choice(self, known: dict[str, Any], architecture: Architecture) -> None:
        """Restore what :meth:`chosen` returned, and become the network of ``architecture``."""
        self._know(known)
        self._become(architecture)

    def _know(self, known: dict[str, Any] | None) -> None:
        known = dict(known or {})
        self._clock = StageClock(known.pop("stage_seconds", None))
        for name, value in known.items():
            setattr(self, name, value)

    def _measured(self, space: SearchSpace) -> CostTable:
        return measure_costs(
            space.operations,
            settings=layer_settings(self.config),
            n_items=self.model.n_items,
            max_length=self.model.max_seq_length,
            final_norm=switch(self.config, "final_norm"),
            tie_embeddings=tied_embeddings(self.config),
            device=self.device,
        )

    def _note_costs(self) -> None:
        """Measure the network as a whole: its budget was kept by the sum of what its layers take."""
        assert self.costs is not None  # noqa: S101 - for the type checker
        self.latency_ms = from_first(network_latency_ms(self.model.network, self.model.max_seq_length))
        expected = self.costs.of(self.model.architecture.layers)
        _LOG.info(
            "Network: %s parameters, %.2f MFLOPs a recommendation, %.2f ms at batch 1 (layer by layer %.2f)",
            f"{expected['parameters']:,.0f}",
            expected["flops"] / 1e6,
            self.latency_ms,
            expected["latency_ms"],
        )
        limit = self.config["max_latency_ms"]
        if limit is not None and self.latency_ms > limit:
            _LOG.warning("The whole network takes %.2f ms, more than `max_latency_ms`=%g.", self.latency_ms, limit)

    def _search(self, train_data: Any, space: SearchSpace, budget: Budget) -> SearchResult:
        problem = search_problem(self.config, train_data, space, budget, self.speed.acceleration)
        _LOG.info("search: %s architectures, %d sequences", space.size_text(), len(problem.sequences.group))
        one_by_one = problem.settings.scope == "block"
        lines = BlockLines(space.n_blocks if one_by_one else 0, self._track_block)
        with self._clock.stage("search"):
            return _agreed(search(problem, lines, self.keeper))

    def _become(self, architecture: Architecture) -> None:
        self.model.become(architecture)
        AbstractTrainer.__init__(self, self.config, self.model)  # several processes share the new network's gradients
        self.optimizer = self._build_optimizer(params=self.model.parameters())
        self._average = None  # that of the network before
        self.speed.take(self.model.network)
        _LOG.info("Architecture: %s", architecture)

    def _track_block(self, index: int, ranking: BlockRanking) -> None:
        """Tell TensorBoard and, with ``log_wandb``, Weights & Biases what the search found; the first block is 1."""
        number = index + 1
        for epoch, loss in enumerate(ranking.losses, start=1):
            self.tensorboard.add_scalar(f"search/loss_of_block_{number}", loss, epoch)
        for name, value in ranking.numbers().items():
            self.tensorboard.add_scalar(f"search/{name}", value, number)
        self.tensorboard.add_histogram("search/scores", ranking.scores, number)
        self.wandblogger.log_metrics({**ranking.numbers(), "block_step": number}, head="search")

    def _become_network_of(self, path: str) -> None:
        if self.model.searched:
            return
        architecture = load_checkpoint(path, self.device)["config"]["architecture"]
        if architecture is not None:
            self._become(Architecture.from_nested(architecture))

    def _load_best(self, path: str) -> None:
        self._become_network_of(path)
        super()._load_best(path)

    def resume_checkpoint(self, resume_file: Any) -> None:
        """Resume training from a checkpoint, which holds the architecture that was found."""
        self._become_network_of(str(resume_file))
        super().resume_checkpoint(resume_file)


def _agreed(found: SearchResult) -> SearchResult:
    """Return what the first of several processes found, in all of them.

    Each has made the same search from the same seed. On CPUs of one kind all found the same; kernels that add up in
    varying order may tip a tie.
    """
    architectures = {str(architecture) for architecture in from_all(found.architecture)}
    if len(architectures) > 1:
        _LOG.warning("Processes found %d architectures, by rounding; all take the first's.", len(architectures))
    return from_first(found)

"""What every search works with: the sequences it trains on, the supernet, the objective, and who judges the scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from recbole_nasr import distributed
from recbole_nasr.keeping import Keeper, random_state, set_random_state
from recbole_nasr.nets import Supernet
from recbole_nasr.search.assessment import Assessor
from recbole_nasr.search.contrastive import Contrastive
from recbole_nasr.search.next_item import NextItem
from recbole_nasr.search.objective import Objective, Prefix
from recbole_nasr.search.problem import SearchProblem
from recbole_nasr.search.sequences import SearchSequences, hold_out
from recbole_nasr.search.training import BlockTrainer
from recbole_nasr.space import SearchSpace

OBJECTIVES: dict[str, type[Objective]] = {"contrastive": Contrastive, "next_item": NextItem}


@dataclass(frozen=True)
class SearchState:
    """The parts of a search in progress.

    Args:
        problem: What is searched.
        space: Its space, or the same layers cut otherwise.
        train: Sequences to train on.
        supernet: What is trained.
        objective: How it is trained and scored; it has the held-out sequences.
        assessor: Turns scores into rankings.
    """

    problem: SearchProblem
    space: SearchSpace
    train: SearchSequences
    supernet: Supernet
    objective: Objective
    assessor: Assessor

    @classmethod
    def begin(cls, problem: SearchProblem, space: SearchSpace) -> SearchState:
        """Hold sequences out, and build the supernet of ``space`` with fresh weights.

        Args:
            problem: What is searched.
            space: Its space, or the same layers cut otherwise.

        Raises:
            DataError: If there are too few sequences.
            ArchitectureError: If an operation does not fit the settings.
        """
        settings = problem.settings
        train, held_out = hold_out(problem.sequences.to(problem.device), settings.holdout_ratio, problem.seed)
        supernet = Supernet(
            space,
            n_items=problem.n_items,
            max_length=problem.max_length,
            settings=problem.layer_settings,
            softmax=settings.objective == "next_item",
            tie_embeddings=problem.tie_embeddings,
            final_norm=problem.final_norm,
        ).to(problem.device)
        problem.acceleration.compile_operations(supernet)
        objective = OBJECTIVES[settings.objective](supernet, settings, problem.seed)
        objective.acceleration = problem.acceleration
        objective.hold(held_out)
        return cls(problem, space, train, supernet, objective, Assessor(problem, supernet, objective))

    def progress(self) -> dict[str, Any]:
        """Return what the search has learned and drawn so far: weights, and the random state of dropout."""
        return {"supernet": self.supernet.state_dict(), "random": random_state()}

    def go_on(self, saved: dict[str, Any] | None) -> None:
        """Take the weights and the random state of :meth:`progress`, if there is one."""
        if saved is None:
            return
        self.supernet.load_state_dict(saved["supernet"])
        if not distributed.rank():  # the others begin a stream of their own with each step
            set_random_state(saved["random"])

    @contextmanager
    def trained_block(self, prefixes: Sequence[Prefix], label: str, keeper: Keeper) -> Iterator[tuple[float, ...]]:
        """Train the block after ``prefixes``, or what is left of it; yield the mean loss of each epoch.

        The state of the training is kept for the length of the ``with`` block: what follows in it, such as a ranking,
        starts over after an interruption, and the training does not.

        Args:
            prefixes: The chosen paths of the earlier blocks, one of several after the other.
            label: What the training is called on the screen.
            keeper: Saves the state after every step, and has the one to go on from.

        Raises:
            NumericalError: If a loss was not finite.
        """
        settings, seed = self.problem.settings, self.problem.seed
        trainer = BlockTrainer(self.supernet, prefixes, self.space, settings, seed, self.objective)
        with keeper.part("block", trainer.state):
            trainer.restore(keeper.take("block"))
            losses = trainer.train(self.train, label, keeper)
            trainer.release()
            yield losses

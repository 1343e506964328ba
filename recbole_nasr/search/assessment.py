"""From the scores of a block's paths to its ranking, with all the evidence the selection report shows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from recbole_nasr.nets import Supernet
from recbole_nasr.ops.registry import operation_flops
from recbole_nasr.search.costs import n_parameters
from recbole_nasr.search.evidence import (
    Evidence,
    agreement,
    paired_p,
    tau_of_halves,
    trivial_predictors,
    view_agreement,
)
from recbole_nasr.search.objective import Objective
from recbole_nasr.search.path_scores import PathScores, effective_rank
from recbole_nasr.search.problem import SearchProblem
from recbole_nasr.search.result import BlockRanking
from recbole_nasr.search.selection import Matrix, Selection, persons_of, select_path, standard_error
from recbole_nasr.space import Path


class Assessor:
    """Ranks paths by their scores, knowing what they cost.

    Args:
        problem: What is searched.
        supernet: Where the parameters of an operation are counted.
        objective: Whose scores they are; it holds the held-out sequences.
    """

    def __init__(self, problem: SearchProblem, supernet: Supernet, objective: Objective) -> None:
        self.space, self.settings, self.objective = problem.space, problem.settings, objective
        layer = supernet.block(0).layers[0]
        self._person = persons_of(objective.group.cpu().numpy())
        self._parameters = [n_parameters(part) for part in layer.children()]
        self._flops = [
            operation_flops(name, problem.layer_settings, problem.max_length) for name in problem.space.operations
        ]

    def flops(self, path: Path) -> int:
        """Return the forward FLOPs of ``path`` on a sequence as long as the longest of the search."""
        return sum(self._flops[op] for op in path)

    def select(self, values: Matrix, paths: Sequence[Path], allowed: Sequence[bool] | None = None) -> Selection:
        """Choose one of ``paths``, or of those that are ``allowed``, by its ``values (P, N)``, as the settings say."""
        return select_path(
            values,
            self._person,
            paths,
            [self.flops(path) for path in paths],
            tie_standard_errors=self.settings.tie_standard_errors,
            tie_break=self.settings.tie_break,
            allowed=allowed,
        )

    def ranking(
        self,
        block: int,
        paths: Sequence[Path],
        scores: PathScores,
        *,
        losses: tuple[float, ...],
        prefix: int = 0,
        selected: int | None = None,
        allowed: Sequence[bool] | None = None,
        before: Matrix | None = None,
    ) -> BlockRanking:
        """Return the ranking of ``paths`` of ``block``.

        Args:
            block: Index of the block.
            paths: The ranked paths, through this block alone.
            scores: Theirs, behind one or several prefixes.
            losses: Of the training.
            prefix: Number of the prefix to rank them behind.
            selected: Index of the chosen path; what :meth:`select` says if not given.
            allowed: Which paths the budget leaves to choose from; all if not given.
            before: ``(N,)`` scores of the network that ends before this block, if there is one and they compare.
        """
        values: Matrix = scores.values[prefix].numpy()
        found = self.select(values, paths, allowed)
        names = tuple(self.space.path_names(path) for path in paths)
        flops = tuple(self.flops(path) for path in paths)
        taken = found.selected if selected is None else selected
        change = (None, None) if before is None else self._difference(values[taken], before)
        parameters = tuple(sum(self._parameters[op] for op in path) for path in paths)
        predictors = agreement(found.scores, trivial_predictors(names, flops, parameters))
        n_free = len(paths) if allowed is None else sum(allowed)
        return BlockRanking(
            metric=self.objective.metric,
            paths=names,
            flops=flops,
            parameters=parameters,
            scores=found.scores,
            standard_errors=found.standard_errors,
            paired_errors=found.paired_errors,
            selected=taken,
            ties=found.ties,
            gap=found.gap,
            gap_standard_error=found.gap_standard_error,
            n_sequences=values.shape[1],
            n_space_paths=self.space.n_paths(block),
            view_scores=scores.views[:, prefix].numpy(),
            evidence=self._evidence(scores, prefix, found, n_free, predictors),
            effective_rank=effective_rank(scores.representation),
            hidden_size=scores.representation.size(1),
            losses=losses,
            of_network=not self.objective.adds_up,
            over_budget=tuple(index for index, free in enumerate(allowed or ()) if not free),
            change=change[0],
            change_standard_error=change[1],
        )

    def _evidence(
        self, scores: PathScores, prefix: int, found: Selection, n_free: int, predictors: dict[str, float]
    ) -> Evidence:
        """Return how far the ranking ``found``, of which ``n_free`` paths may be chosen, can be trusted."""
        values: Matrix = scores.values[prefix].numpy()
        n_sequences = values.shape[1]
        gap, error = self._difference(values[found.order[n_free // 2]], values[found.order[0]])
        n_persons = int(self._person.max()) + 1
        scale = math.sqrt(scores.n_view_sequences / n_sequences / self.settings.view_pairs)
        tau_views, noise = view_agreement(scores.views[:, prefix].numpy(), scale)
        return Evidence(
            spread=float(np.std(found.scores)),
            median_gap=gap,
            median_gap_standard_error=error,
            p_second=paired_p(found.gap, found.gap_standard_error, n_persons),
            p_median=paired_p(gap, error, n_persons),
            tau_halves=tau_of_halves(values, self.objective.group.cpu().numpy()),
            tau_views=tau_views,
            view_noise=noise,
            predictors=predictors,
        )

    def _difference(self, one: Matrix, other: Matrix) -> tuple[float, float]:
        """Return the mean of ``one - other``, scores of the same sequences, and its standard error."""
        difference = one - other
        return float(difference.mean()), float(standard_error(difference, self._person))

"""What a supernet says of given networks: the score of a list of architectures under its shared weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recbole_nasr.errors import ArchitectureError
from recbole_nasr.keeping import Keeper
from recbole_nasr.ops.base import open_gates
from recbole_nasr.progress import Progress, open_progress, plural
from recbole_nasr.search.blockwise import BlockwiseSearch
from recbole_nasr.search.objective import Prefix
from recbole_nasr.search.problem import SearchProblem
from recbole_nasr.search.run import own_randomness
from recbole_nasr.search.settings import SearchSettings
from recbole_nasr.search.state import SearchState
from recbole_nasr.search.whole import TRAINING
from recbole_nasr.space import Architecture, Path, SearchSpace

UNTRAINED_GATE = 0.1
"""λ of every gate of an untrained supernet. At its initial value, 0, all networks would be the same."""

BlockScores = dict[Path, float]


@dataclass(frozen=True)
class GivenScores:
    """Scores of given networks; lower is better.

    Args:
        metric: What a score is.
        scores: One for each network, in the order given.
    """

    metric: str
    scores: tuple[float, ...]


def score_architectures(
    problem: SearchProblem, architectures: Sequence[Architecture], *, trained: bool = True, keeper: Keeper | None = None
) -> GivenScores:
    """Train the supernet as :func:`~recbole_nasr.search.search` does, and score ``architectures`` with its weights.

    Trained as a whole, a network's score is that of the network itself on the held-out sequences. Trained block by
    block, every block is trained and ranked behind the paths that the search has chosen before it, and a network's
    score is the sum over blocks of the mean score that its path has there: the search asks no more of a path, and no
    block has been trained behind the networks' own.

    Args:
        problem: What is searched, and how.
        architectures: Of the space of ``problem``.
        trained: Leave the supernet at its initial weights otherwise, with every λ at :data:`UNTRAINED_GATE`.
        keeper: Saves the state of the training, and has the one to go on from; the scores are the same to the last bit.
            Without training there is nothing to keep.

    Raises:
        ArchitectureError: If a network is not one of the space, or only a sample of a block's paths would be ranked.
        DataError: If there are too few sequences.
        NumericalError: If a loss or score is not finite.
    """
    networks = [_paths_of(architecture, problem.space) for architecture in architectures]
    check_all_ranked(problem.space, problem.settings)
    with own_randomness(problem.seed), problem.acceleration.products():
        if problem.settings.scope == "whole":
            return _score_whole(problem, networks, keeper or Keeper(), trained=trained)
        metric, blocks = _ranked_blocks(problem, keeper or Keeper()) if trained else _untrained_blocks(problem)
    sums = (sum(scores[path] for scores, path in zip(blocks, network, strict=True)) for network in networks)
    return GivenScores(metric, tuple(sums))


def _paths_of(architecture: Architecture, space: SearchSpace) -> Prefix:
    lengths = tuple(len(block) for block in architecture.blocks)
    unknown = sorted(set(architecture.layers) - set(space.operations))
    if lengths != space.layers_per_block or unknown:
        msg = (
            f"Networks are scored in a space of {', '.join(space.operations)} in blocks of "
            f"{list(space.layers_per_block)} layers, but got {architecture}."
        )
        raise ArchitectureError(msg)
    return tuple(space.path_of(block) for block in architecture.blocks)


def _score_whole(problem: SearchProblem, networks: Sequence[Prefix], keeper: Keeper, *, trained: bool) -> GivenScores:
    state = SearchState.begin(problem, problem.space.in_one_block())
    joined = [tuple(op for path in network for op in path) for network in networks]
    distinct = sorted(set(joined))
    label = f"search: score {len(distinct)} given {plural(len(distinct), 'network')}"
    if trained:
        with keeper.part("search", state.progress):
            state.go_on(keeper.take("search"))
            with state.trained_block([()], TRAINING, keeper):
                keeper.stage(label)  # the scoring draws nothing, so one that is interrupted gives the same
    else:
        open_gates(state.supernet, UNTRAINED_GATE)
        state.objective.start(0)
    with open_progress(state.objective.work(len(distinct)), label, unit="path") as progress:
        means = state.objective.score_within_memory([()], distinct, progress).values[0].mean(dim=1).tolist()
    found = dict(zip(distinct, means, strict=True))
    return GivenScores(state.objective.metric, tuple(found[network] for network in joined))


def _ranked_blocks(problem: SearchProblem, keeper: Keeper) -> tuple[str, list[BlockScores]]:
    rankings = BlockwiseSearch(problem, keeper).run().blocks
    path_of = problem.space.path_of
    blocks = [
        {path_of(path): float(score) for path, score in zip(block.paths, block.scores, strict=True)}
        for block in rankings
    ]
    return rankings[0].metric, blocks


def _untrained_blocks(problem: SearchProblem) -> tuple[str, list[BlockScores]]:
    """Rank the blocks of a fresh supernet, each behind the best paths before it."""
    state = SearchState.begin(problem, problem.space)
    open_gates(state.supernet, UNTRAINED_GATE)
    prefix: Prefix = ()
    blocks: list[BlockScores] = []
    for index in range(problem.space.n_blocks):
        paths = list(problem.space.paths(index))
        state.objective.start(index)
        values = state.objective.score_within_memory([prefix], paths, Progress()).values[0]
        blocks.append(dict(zip(paths, values.mean(dim=1).tolist(), strict=True)))
        prefix = (*prefix, paths[state.assessor.select(values.numpy(), paths).selected])
    return state.objective.metric, blocks


def check_all_ranked(space: SearchSpace, settings: SearchSettings) -> None:
    """Refuse to score given networks where only a sample of a block's paths would be ranked.

    Raises:
        ArchitectureError: Names the first such block.
    """
    limit = settings.max_enumerated_paths
    for index in range(space.n_blocks if settings.scope == "block" else 0):
        if space.n_paths(index) > limit:
            msg = (
                f"Given networks are scored block by block where all paths of a block are ranked, but block "
                f"{index + 1} has {space.n_paths(index)} and `max_enumerated_paths` is {limit}; raise it, or cut the "
                "layers into more blocks."
            )
            raise ArchitectureError(msg)

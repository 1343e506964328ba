"""The files that a run leaves about networks it compared: candidates, and fronts of accuracy against cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from recbole_nasr.documents import RUN_VERSION
from recbole_nasr.runs.folder import RunFolder
from recbole_nasr.search.costs import COSTS, CostTable
from recbole_nasr.search.front import FrontPoint, search_fronts, undominated
from recbole_nasr.search.result import SearchResult
from recbole_nasr.space import Architecture, SearchSpace
from recbole_nasr.trainer.candidates import Trained
from recbole_nasr.trainer.verification import Verification

CANDIDATES_FILE = "candidates.csv"
"""Every trained candidate: where it came from, its scores, what was decided."""


@dataclass(frozen=True)
class Fronts:
    """Networks that no other is both better and cheaper than.

    Args:
        searched: By the scores of the search.
        trained: By validation, for each cost indices into the candidates, cheapest first; only of those trained to
            their end.
        choice: Costs of the network that the search chose, where there was one.
    """

    searched: tuple[FrontPoint, ...] = ()
    trained: tuple[tuple[str, tuple[int, ...]], ...] = ()
    choice: dict[str, float] | None = None


def fronts(
    architecture: Architecture,
    costs: CostTable,
    search: SearchResult | None,
    verification: Verification | None,
) -> Fronts:
    """Return the fronts of a finished choice.

    Args:
        architecture: Any network of the space; it says how the space is cut into blocks.
        costs: What the networks of the space cost.
        search: What was found by scores.
        verification: What was found by training.
    """
    space = SearchSpace(costs.operations, tuple(len(block) for block in architecture.blocks))
    return Fronts(
        searched=tuple(search_fronts(search.blocks, space, costs)) if search is not None else (),
        trained=trained_fronts(verification) if verification is not None else (),
        choice=costs.of(search.architecture.layers) if search is not None else None,
    )


def trained_fronts(found: Verification) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return the front of validation against each cost, among candidates that were trained to their end."""
    ended = [index for index, one in enumerate(found.trained) if not one.stopped and not one.failure]
    sign = -1 if found.bigger else 1
    fronts_by_cost = []
    for cost in COSTS:
        points = ((found.trained[index].costs[cost], sign * found.trained[index].score) for index in ended)
        fronts_by_cost.append((cost, tuple(ended[place] for place in undominated(points))))
    return tuple(fronts_by_cost)


def save_candidates(folder: RunFolder, trained: Sequence[Trained]) -> None:
    """Write :data:`CANDIDATES_FILE`, in the order of training; ``scores`` holds the validation score by epoch."""
    header = ("origin", "architecture", "score", "best_epoch", "epochs", "decision", *COSTS, "seconds", "scores")
    rows = (
        (
            "+".join(one.candidate.origins),
            str(one.candidate.architecture),
            one.score,
            one.best_epoch,
            one.epochs,
            one.decision,
            *(one.costs[name] for name in COSTS),
            one.seconds,
            json.dumps(one.scores),
        )
        for one in trained
    )
    folder.write_csv(CANDIDATES_FILE, header, rows)


def save_verification(folder: RunFolder, found: Verification) -> None:
    """Write the candidates, and ``candidates.json`` with how they were compared and what it cost."""
    save_candidates(folder, found.trained)
    content: dict[str, Any] = {"schema": "recbole-nasr/candidates", "schema_version": RUN_VERSION, **asdict(found)}
    for one, plain in zip(found.trained, content.pop("trained"), strict=True):
        plain["candidate"] = {"architecture": str(one.candidate.architecture), "origins": list(one.candidate.origins)}
    content["winner"] = str(found.winner.candidate.architecture)
    content["epochs"] = found.epochs
    folder.write_json("candidates.json", content)


def save_fronts(folder: RunFolder, found: Fronts, trained: Sequence[Trained] = ()) -> None:
    """Write ``front.csv``; ``score`` is the search's, above that of its choice, or that on the validation cases."""
    rows: list[tuple[Any, ...]] = [
        ("search", point.cost, str(point.architecture), point.excess, *(point.costs[name] for name in COSTS))
        for point in found.searched
    ]
    for cost, indices in found.trained:
        for one in (trained[index] for index in indices):
            costs = (one.costs[name] for name in COSTS)
            rows.append(("validation", cost, str(one.candidate.architecture), one.score, *costs))
    folder.write_csv("front.csv", ("by", "against", "architecture", "score", *COSTS), rows)

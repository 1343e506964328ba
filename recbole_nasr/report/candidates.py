"""The candidates that were trained and how the winner was chosen, in a short table."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_nasr.alignment import as_markdown
from recbole_nasr.progress import duration, plural
from recbole_nasr.search.costs import CostTable
from recbole_nasr.search.result import SearchResult
from recbole_nasr.trainer.candidates import Trained
from recbole_nasr.trainer.strategies import PREDICTED, PURE, RANDOM
from recbole_nasr.trainer.verification import Verification

_HEADER = ("origin", "validation", "best epoch", "epochs", "parameters", "MFLOPs", "latency, ms", "decision")


def candidates_table(found: Verification) -> str:
    """Return one Markdown row per candidate, best first, with those that could not be trained last."""
    failed = [one for one in found.trained if one.failure]
    rows = [_cells(one, found) for one in (*found.ranking, *failed)]
    return as_markdown([_HEADER, *rows], left=(0, len(_HEADER) - 1))


def _cells(one: Trained, found: Verification) -> tuple[str, ...]:
    return (
        _name(one) + (" (taken)" if one is found.winner else ""),
        f"{one.score:.4f}",
        str(one.best_epoch),
        str(one.epochs),
        f"{one.costs['parameters']:,.0f}",
        f"{one.costs['flops'] / 1e6:.2f}",
        f"{one.costs['latency_ms']:.2f}",
        one.decision,
    )


def candidates_verdict(found: Verification, search: SearchResult | None) -> list[str]:
    """Return the outcome of the trainings, in sentences."""
    winner, metric = found.winner, found.metric
    n, epochs = len(found.trained), found.epochs
    lines = [
        f"{n} network{' was' if n == 1 else 's were'} trained for {epochs:,} {plural(epochs, 'epoch')} in "
        f"{duration(found.seconds)}; taken was {_name(winner)}, {metric} {winner.score:.4f} on the validation cases."
    ]
    pure = [one for one in found.ranking if PURE in one.candidate.origins]
    if pure:
        name = pure[0].candidate.architecture.layers[0]
        what = f"the best pure network ({name})"
        if pure[0] is winner:
            others = "nothing the search proposed" if search else "no hybrid that was trained"
            only = len(pure) == len(found.ranking)
            lines.append(
                f"It is {what}; no hybrid was trained." if only else f"It is {what}: {others} validates better."
            )
        else:
            lines.append(f"It validates {_against(winner, pure[0])} than {what}, {metric} {pure[0].score:.4f}.")
    own = next((one for one in found.trained if search and one.candidate.architecture == search.architecture), None)
    if own is not None and own is not winner:
        lines.append(f"The search's own choice: {metric} {own.score:.4f}, {own.decision}.")
    predicted, drawn = (_mean_score(found, origin) for origin in (PREDICTED, RANDOM))
    if predicted is not None:
        beside = "" if drawn is None else f", random ones {drawn:.4f}"
        lines.append(
            f"Networks that the trained ones predicted to be good have {metric} {predicted:.4f} on average{beside}."
        )
    if found.left_out:
        lines.append(f"Over budget and left out: pure {', '.join(found.left_out)}.")
    return lines


def _mean_score(found: Verification, origin: str) -> float | None:
    scores = [one.score for one in found.ranking if origin in one.candidate.origins]
    return sum(scores) / len(scores) if scores else None


def _name(one: Trained) -> str:
    """Return the origin of a candidate, and the operation of a pure network."""
    operation = one.candidate.architecture.layers[0]
    return " + ".join(f"{origin} {operation}" if origin == PURE else origin for origin in one.candidate.origins)


def _against(one: Trained, other: Trained) -> str:
    if one.score == other.score or not other.score:
        return "no worse"
    return f"{abs(one.score / other.score - 1):.1%} better"


def costs_line(costs: CostTable, layers: Sequence[str], latency_ms: float, device: str) -> str:
    """Return the costs of a network, and of a layer of each of its operations.

    Args:
        costs: The table.
        layers: Operations of the network.
        latency_ms: Latency of the whole network, in ms.
        device: Name of the processor that the latencies were measured on.
    """
    own = costs.of(layers)
    each = "; ".join(
        f"{name} {parameters:,.0f} parameters, {flops / 1e6:.2f} MFLOPs, {latency:.3f} ms"
        for name, (parameters, flops, latency) in zip(costs.operations, costs.per_layer.tolist(), strict=True)
    )
    return (
        f"The network has {own['parameters']:,.0f} parameters and takes {own['flops'] / 1e6:.2f} MFLOPs and "
        f"{latency_ms:.2f} ms for a recommendation ({own['latency_ms']:.2f} ms by its layers). A layer costs: {each}. "
        f"Besides, a network takes {costs.fixed[0]:,.0f} parameters, {costs.fixed[1] / 1e6:.2f} MFLOPs and "
        f"{costs.fixed[2]:.2f} ms. Latencies are medians at batch 1 on {device}."
    )

"""What a claim needs to convince a sceptic, and where the runs of a page fall short of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from recbole_nasr.progress import plural
from recbole_nasr.studies.record import ResultRecord
from recbole_nasr.studies.request import SEARCHED, TRAINED, StudyRequest
from recbole_nasr.studies.tables import FinishedRun, rows_of

REQUIREMENTS: dict[str, str] = {
    "E1": "one recipe for all networks, and every baseline tuned with at least 20 trials",
    "E2": "random search at equal cost: at least ten random networks, and the best of them by validation",
    "E3": "at least five searches, and three trainings of each network found",
    "E4": "the rankings of the search against at least 50 fully trained networks (Kendall's τ, regret)",
    "E5": "ablations of the search",
    "E6": "paired tests over the test cases with Holm's correction, and at least three seeds",
    "E7": "choices by validation alone, the test cases read once",
    "E8": "leave-one-out and a split by time, history kept and masked",
    "E9": "at least four data sets, among them ML-1M, ML-20M or larger, one of sessions or music, one sparse",
    "E10": "strong outside baselines (gSASRec, eSASRec, HSTU, LRURec, AdaMCT), first within 3 % of published numbers",
    "E11": "time, peak memory and latency beside accuracy, against tuning a plain network for the same time",
    "E12": "transferred networks against random ones, not only against pure ones",
    "E13": "2 to 32 layers, gated and ungated, both families",
    "E14": "one command, data by checksum, pinned versions, and the rank of every test case kept",
    "E15": "results that speak against the claim are shown",
}
"""Number of each requirement, as ``needs`` of a study names it, and what it asks."""

_FEWEST_SEEDS = {"E3": 5, "E6": 3}
_TRIALS = 20
_RANDOM = 10
_TRAININGS = 3
_DATASETS = 4
_SHALLOWEST, _DEEPEST = 2, 32
_FAMILIES = {"attention": "transformer", "convolutions": "tcn"}


def shortfalls(
    asked: StudyRequest, runs: Sequence[FinishedRun], *, compared: bool, trials: int = 0
) -> list[tuple[str, str]]:
    """Return the requirements that this page does not meet, in order, each with the fact that says so.

    Args:
        asked: The command.
        runs: Those that have finished.
        compared: Whether rows were compared in pairs.
        trials: How many trials of `tune` have a result, stopped early or not.
    """
    checks: dict[str, Callable[[], str]] = {
        "E1": lambda: _recipe(asked, runs, trials),
        "E2": lambda: _random(asked, runs),
        "E3": lambda: _searches(runs),
        "E4": lambda: "not asked here; --study=fidelity does" if asked.definition.name != "fidelity" else "",
        "E5": lambda: f"this study varies {', '.join(asked.definition.varied) or 'nothing of the search'} alone",
        "E6": lambda: _statistics(runs, compared=compared),
        "E8": lambda: _splits(runs),
        "E9": lambda: _data(runs),
        "E10": lambda: "none of them was run",
        "E11": lambda: "time alone is given; peak memory is in the report of each run, latency is not measured",
        "E12": lambda: (
            "" if any(run.is_random for run in runs) and _labelled(runs, "Transferred") else "no such rows yet"
        ),
        "E13": lambda: _depth(runs),
        "E14": lambda: _kept(runs),
    }
    found = [(name, checks[name]()) for name in asked.definition.needs if name in checks]
    return [(name, reason) for name, reason in found if reason]


def unfinished_training(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Return the runs that stopped only because their epochs were used up."""
    return [run for run in runs if was_improving(run.record)]


def was_improving(record: ResultRecord) -> bool:
    """Return whether the last validation of a training was its best and the epochs were used up."""
    return _used_up(record) and record.best_epoch == _last_validated(record)


def _used_up(record: ResultRecord) -> bool:
    return bool(record.epochs == record.settings.get("epochs"))


def _last_validated(record: ResultRecord) -> int:
    step = max(1, min(int(record.settings.get("eval_step", 1)), record.epochs))  # RecBole validates once at least
    return record.epochs - record.epochs % step


def _recipe(asked: StudyRequest, runs: Sequence[FinishedRun], trials: int) -> str:
    if asked.definition.space:
        return "" if trials >= _TRIALS else f"{trials} {plural(trials, 'trial')}"
    baselines = [
        run for run in asked.definition.runs if run.model != SEARCHED and run.settings.get("architecture") != "random"
    ]
    if any(run.tuned for run in baselines):
        few = [f"{run.label} ({run.tuned} trials)" for run in baselines if run.tuned < _TRIALS]
        return f"not tuned with as many: {', '.join(few)}" if few else ""
    foreign = {run.label for run in runs if run.record.model not in (SEARCHED, TRAINED)}
    rows = "1 row is" if len(foreign) == 1 else f"{len(foreign)} rows are"
    other = f"{rows} RecBole's own networks with their own defaults; " if foreign else ""
    return other + "no baseline was tuned (--study=tune does)"


def _random(asked: StudyRequest, runs: Sequence[FinishedRun]) -> str:
    n = max((len(row.runs) for row in rows_of(runs) if row.runs[0].is_random), default=0)
    few = f"{n} random {plural(n, 'network')}" if n < _RANDOM else ""
    best = "" if asked.definition.summary == "cost" else "their mean alone (--study=cost takes the best by validation)"
    return "; ".join(part for part in (few, best) if part)


def _searches(runs: Sequence[FinishedRun]) -> str:
    rows = [[run.record.model for run in row.runs] for row in rows_of(runs)]
    searched = [(models.count(SEARCHED), len(models)) for models in rows if SEARCHED in models]
    n = min((searches for searches, _ in searched), default=0)
    times = min((trained // searches for searches, trained in searched), default=0)
    few = [f"{n} search{'es' * (n != 1)} per row"] if n < _FEWEST_SEEDS["E3"] else []
    if times < _TRAININGS:
        few.append(f"each network found was trained {'once' if times == 1 else f'{times} times'}")
    return "; ".join(few)


def _statistics(runs: Sequence[FinishedRun], *, compared: bool) -> str:
    n = min((len(row.runs) for row in rows_of(runs)), default=0)
    few = f"{n} {plural(n, 'seed')} in some rows" if n < _FEWEST_SEEDS["E6"] else ""
    return "; ".join(part for part in (few, "" if compared else "no paired tests") if part)


def _splits(runs: Sequence[FinishedRun]) -> str:
    splits = sorted({str(run.record.settings.get("split_by") or "leave_one_out") for run in runs})
    masked = sorted({"masked" if run.record.settings.get("mask_history") else "kept" for run in runs})
    short = [f"{' and '.join(splits)} alone"] if len(splits) == 1 else []
    short += [f"history {masked[0]}"] if len(masked) == 1 else []
    return ", ".join(short)


def _data(runs: Sequence[FinishedRun]) -> str:
    sizes = {run.dataset: f"{run.record.data.get('actions', 0):,} actions" for run in runs}
    names = ", ".join(f"{name} ({size})" for name, size in sizes.items())
    return "" if len(sizes) >= _DATASETS else f"{len(sizes)} data {plural(len(sizes), 'set')}: {names}"


def _depth(runs: Sequence[FinishedRun]) -> str:
    depths = sorted({int(run.point["n_layers"]) for run in runs if "n_layers" in run.point})
    all_depths = bool(depths) and depths[0] <= _SHALLOWEST and depths[-1] >= _DEEPEST
    gates = {bool(run.record.settings.get("linear_residual", True)) for run in runs}
    missing = [name for name, words in _FAMILIES.items() if not any(words in run.record.architecture for run in runs)]
    short = [] if all_depths else [f"layers: {', '.join(map(str, depths)) or 'none yet'}"]
    short += [f"{'gated' if True in gates else 'ungated'} alone"] if len(gates) == 1 else []
    return ", ".join([*short, *(f"no {name}" for name in missing)])


def _kept(runs: Sequence[FinishedRun]) -> str:
    missing = sum(run.record.ranks_file() is None for run in runs)
    return f"ranks of {missing} {plural(missing, 'run')} are not on this machine" if missing else ""


def _labelled(runs: Sequence[FinishedRun], label: str) -> bool:
    return any(run.label == label for run in runs)

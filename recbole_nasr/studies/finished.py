"""The finished runs of a study, each from its record."""

from __future__ import annotations

from recbole_nasr.studies.queue import TrialQueue
from recbole_nasr.studies.record import find_record
from recbole_nasr.studies.request import TRAINED
from recbole_nasr.studies.running import Runner
from recbole_nasr.studies.tables import FinishedRun


def finished_runs(queue: TrialQueue, runner: Runner) -> list[FinishedRun]:
    """Return the finished runs in the order of the rows.

    Of `tune` only the trial that validated best: the test metrics of the others are not read. Of `fidelity` only the
    trainings of its networks: another study may have trained what a search with the settings of a signal found.
    """
    asked, trials = queue.asked, queue.finished()
    order = {cell.key: number for number, cell in enumerate(queue.cells)}
    if queue.draws:
        trials = sorted(trials, key=lambda trial: trial.value or 0.0)[-1:]
    else:
        trials = [trial for trial in trials if trial.user_attrs["cell"] in order]
    if asked.definition.search_seeds:
        trials = [trial for trial in trials if trial.user_attrs["model"] == TRAINED]
    points = {cell.key: cell.point for cell in queue.cells}
    runs = []
    for trial in trials:
        known = trial.user_attrs
        folders = runner.record_folders(known["dataset"])
        record = find_record(known["model"], known["key"], known["seed"], folders)
        if record is not None:
            point = points.get(known["cell"], trial.params)
            runs.append(FinishedRun(known["row"], known["dataset"], point, record, known["reused"]))
    rows = [run.label for run in asked.definition.runs]
    grid = list(dict.fromkeys(str(point) for point in points.values()))
    return sorted(
        runs,
        key=lambda run: (
            asked.datasets.index(run.dataset),
            rows.index(run.label),
            grid.index(str(run.point)) if grid else 0,
            run.record.seed,
        ),
    )

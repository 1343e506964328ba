"""The study `fidelity`: networks trained alone, and what every search signal says of the same networks.

Signals come first, because they are few, then one network after the other, each with all its seeds: the sample is drawn
so that its beginning is a sample of the same kind, and an unfinished study is a smaller one rather than a lopsided one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recbole_nasr.model.settings import search_settings, search_space
from recbole_nasr.runs import checking
from recbole_nasr.search import check_all_ranked
from recbole_nasr.space import Architecture
from recbole_nasr.space.strata import Sampled, stratified_sample
from recbole_nasr.studies.fidelity_tables import FidelityTable, build_table
from recbole_nasr.studies.plan import Cell
from recbole_nasr.studies.queue import TrialQueue
from recbole_nasr.studies.record import ResultRecord
from recbole_nasr.studies.request import TRAINED, StudyRequest
from recbole_nasr.studies.running import Runner
from recbole_nasr.studies.signals import SignalRecord, find_signal, find_signals, score_networks, signal_key
from recbole_nasr.studies.tables import FinishedRun
from recbole_nasr.studies.trials import Follower, cell_of


@dataclass(frozen=True)
class FidelityPlan:
    """What the study runs.

    Args:
        sample: The networks, in order.
        cells: Signals, then trainings.
    """

    sample: tuple[Sampled, ...]
    cells: tuple[Cell, ...]


def build_fidelity_plan(asked: StudyRequest, base: Mapping[str, Mapping[str, dict[str, Any]]]) -> FidelityPlan:
    """Draw the networks and return everything to run, checked.

    Args:
        asked: The command.
        base: From :func:`~recbole_nasr.studies.base.base_settings`, per data set.

    Raises:
        NASRError: If a network or a signal could not be run.
    """
    dataset = asked.request.dataset
    known = base[dataset]
    own = next((run.settings for run in asked.definition.runs if run.model == TRAINED), {})
    space = search_space(checking.check_run(TRAINED, dataset, {**known[TRAINED], **own}))
    sample = stratified_sample(space, asked.n_architectures)
    signals, trainings = [], []
    for run in asked.definition.runs:
        if run.model == TRAINED:
            for network in sample:
                settings = {**known[TRAINED], **run.settings, "architecture": str(network.architecture)}
                checking.check_run(TRAINED, dataset, settings)
                point = {"network": network.name}
                trainings += [Cell(run.label, TRAINED, dataset, settings, seed, point) for seed in asked.seeds]
        else:
            settings = {**known[run.model], **run.settings}
            check_all_ranked(space, search_settings(checking.check_run(run.model, dataset, settings)))
            asks = {"networks": len(sample)}  # so that a larger sample asks again
            signals += [Cell(run.label, run.model, dataset, settings, seed, asks) for seed in asked.search_seeds]
    order = {seed: number for number, seed in enumerate(asked.search_seeds)}
    signals.sort(key=lambda cell: order[cell.seed])
    return FidelityPlan(tuple(sample), (*signals, *trainings))


@dataclass(frozen=True)
class FidelityRunner:
    """Makes the runs of the study: trainings like those of any study, and signals.

    Args:
        trainings: Makes a training.
        sample: The networks that signals score.
    """

    trainings: Runner
    sample: tuple[Sampled, ...]

    def __call__(
        self, cell: Cell, architecture: str, on_validation: Follower
    ) -> tuple[ResultRecord | SignalRecord, bool]:
        """Make the run, unless an equal one has been made before; see :class:`~recbole_nasr.studies.running.Runner`."""
        if cell.model == TRAINED:
            return self.trainings(cell, architecture, on_validation)
        effective = checking.check_run(cell.model, cell.dataset, cell.given())
        untrained = cell.label in self._untrained()
        key = signal_key(cell.dataset, effective, untrained=untrained)
        folders = self.trainings.record_folders(cell.dataset)
        found = find_signal(key, cell.seed, folders, self._networks())
        if found is not None:
            return found, True
        earlier = (name for record in find_signals(key, cell.seed, folders[:1]) for name in record.scores)
        networks = list(dict.fromkeys([*self._networks(), *earlier]))  # the record is written anew, and loses none
        kind = "untrained" if untrained else ""
        with self.trainings.opened(cell, effective, cell.given(), on_validation, kind) as run:
            record = score_networks(
                cell,
                [Architecture.parse(network) for network in networks],
                run,
                key=key,
                effective=effective,
                untrained=untrained,
                command=self.trainings.command,
            )
        record.save(folders[0])
        return record, False

    def table(self, queue: TrialQueue, runs: Sequence[FinishedRun]) -> FidelityTable:
        """Return what the study has found so far.

        Args:
            queue: Whose finished trials say which signals there are.
            runs: The finished trainings.
        """
        asked = self.trainings.asked
        folders = self.trainings.record_folders(asked.request.dataset)
        labels = [run.label for run in asked.definition.runs if run.model != TRAINED]
        search: dict[str, list[SignalRecord]] = {label: [] for label in labels}
        own = {cell.key: cell for cell in queue.cells if cell.model != TRAINED}
        for trial in queue.finished():
            cell = own.get(cell_of(trial))
            record = cell and find_signal(trial.user_attrs["key"], cell.seed, folders, self._networks())
            if cell and record:
                search[cell.label].append(record)
        early = asked.definition.early_epochs
        return build_table(self.sample, asked.seeds, [run.record for run in runs], search, early)

    def _networks(self) -> Sequence[str]:
        return [str(network.architecture) for network in self.sample]

    def _untrained(self) -> set[str]:
        return {run.label for run in self.trainings.asked.definition.runs if run.untrained}

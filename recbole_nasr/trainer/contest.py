"""From shortlist to winner: candidates are trained in the final recipe, and validation decides."""

from __future__ import annotations

import itertools
import logging
import math
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from recbole_nasr.distributed import from_first
from recbole_nasr.errors import NumericalError
from recbole_nasr.model.strategies import StrategySettings
from recbole_nasr.progress import duration, plural
from recbole_nasr.search.shortlist import Candidate
from recbole_nasr.trainer.candidates import Trained, Trainings, best_so_far
from recbole_nasr.trainer.verification import Verification

_LOG = logging.getLogger("recbole_nasr")


@dataclass
class Contest:
    """Trains candidates one by one; Optuna's asynchronous successive halving (ASHA) decides which of them go on.

    A network goes on past a rung if it is among the best one in ``factor`` of those that have reached it. Each is
    trained without a break. Of a list those that are kept come first: the others have competition from the start.

    Args:
        plan: How many candidates are trained, and for how long.
        trainings: Trains one.
        kept: Origins whose candidates are trained to the end, whatever the rungs say.
        left_out: Pure networks that the budget excludes.
        trained: Candidates that were trained before an interruption; further ones are added.
    """

    plan: StrategySettings
    trainings: Trainings
    kept: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    trained: list[Trained] = field(default_factory=list)
    _announced: tuple[int, float] | None = field(default=None, init=False)
    _before: float = field(default=0.0, init=False)  # seconds before the last interruption
    _numbers: tuple[int, int] | None = field(default=None, init=False)  # trained to the end, and others; None: unknown

    def run(self, candidates: Iterable[Candidate], expected: int | None = None) -> Verification:
        """Train ``candidates`` and compare them.

        Args:
            candidates: A list, of which those that are kept are trained first; or an iterator, asked for one candidate
                after the other, of which all are trained to the end.
            expected: How many an iterator has at most, if that is known.

        Raises:
            NumericalError: If none could be trained.
        """
        config, keeper = self.trainings.config, self.trainings.keeper
        self._started = time.perf_counter()
        with keeper.part("contest", self._progress):
            self._go_on(keeper.take("contest"))
            self._numbers = None if expected is None else (expected, 0)
            if isinstance(candidates, list):
                candidates = sorted(candidates, key=lambda candidate: not self._is_kept(candidate))  # stable
                n_kept = sum(map(self._is_kept, candidates))
                self._numbers = (n_kept, len(candidates) - n_kept)
            self._study = self._open_study()
            self._remember(list(self.trained))
            for candidate in itertools.islice(candidates, len(self.trained), None):
                if self._time_is_up():
                    break
                if self._numbers and not self._announced:
                    self._announced = self._announce(candidate, *self._numbers)
                self._train(candidate)
                self._refine()
                keeper.stage("next candidate")
            if expected is not None and len(self.trained) < expected:
                _LOG.info(
                    "candidates: there are no more than %d different networks within the budget", len(self.trained)
                )
            planned, each = self._announced or (0, 0.0)
            return self._compared(planned, each, self._elapsed(), str(config["valid_metric"]).lower())

    def _elapsed(self) -> float:
        return self._before + time.perf_counter() - self._started

    def _progress(self) -> dict[str, Any]:
        return {"announced": self._announced, "seconds": self._elapsed()}  # what was trained its owner keeps

    def _go_on(self, saved: dict[str, Any] | None) -> None:
        if saved is not None:
            self._announced, self._before = saved["announced"], saved["seconds"]

    def _remember(self, trained: Sequence[Trained]) -> None:
        """Report to the study the candidates that were trained before an interruption."""
        for one in trained:
            trial = self._study.ask()
            for epoch, best in best_so_far(one.scores, bigger=bool(self.trainings.config["valid_metric_bigger"])):
                trial.report(best, epoch)
                trial.should_prune()
            self._tell(trial, one)

    def _compared(self, planned: int, each: float, seconds: float, metric: str) -> Verification:
        config = self.trainings.config
        found = Verification(
            trained=tuple(self.trained),
            metric=metric,
            bigger=bool(config["valid_metric_bigger"]),
            kept=self.kept,
            rungs=tuple(self._rungs()),
            left_out=self.left_out,
            planned_epochs=planned,
            epoch_seconds=each,
            seconds=seconds,
        )
        if not found.ranking:
            msg = f"None of the {len(self.trained)} candidates could be trained; the first: {self.trained[0].failure}"
            raise NumericalError(msg)
        return found

    def _is_kept(self, candidate: Candidate) -> bool:
        return bool({*candidate.origins} & {*self.kept}) or not self.plan.halves

    def _rungs(self) -> list[int]:
        """Return the different epochs after which candidates are compared."""
        config = self.trainings.config
        return sorted(set(self.plan.rungs(config["epochs"], config["eval_step"])))

    def _planned(self, epochs: int, n_kept: int, n_others: int) -> int:
        eval_step = self.trainings.config["eval_step"]
        return self.plan.planned_epochs(epochs, n_kept=n_kept, n_others=n_others, eval_step=eval_step)

    def _announce(self, first: Candidate, n_kept: int, n_others: int) -> tuple[int, float]:
        """Log what the trainings will cost, before the first; return their epochs, and the seconds of one epoch."""
        epochs = int(self.trainings.config["epochs"])
        planned = self._planned(epochs, n_kept, n_others)
        rungs = ", ".join(map(str, self._rungs()))
        _LOG.info(
            "candidates: %d networks, %d of them trained to the end%s",
            n_kept + n_others,
            n_kept if rungs else n_kept + n_others,
            f", the others compared after epochs {rungs}" if rungs and n_others else "",
        )
        try:
            measured = self.trainings.seconds_per_epoch(first)
        except NumericalError:  # the training of this candidate will say so; the others may do
            measured = math.nan
        each = from_first(measured)  # whatever came: one process may see a loss that others do not
        if math.isnan(each):
            _LOG.info("candidates: %d epochs, if no training ends early; most do", planned)
            return planned, 0.0
        _LOG.info(
            "candidates: %d epochs, %s at %.2f s an epoch, if no training ends early; most do",
            planned,
            duration(planned * each),
            each,
        )
        return planned, each

    def _open_study(self) -> Any:
        import optuna

        config, plan = self.trainings.config, self.plan
        pruner: Any = optuna.pruners.NopPruner()
        if plan.halves:
            pruner = optuna.pruners.SuccessiveHalvingPruner(
                min_resource=plan.first_epochs, reduction_factor=plan.factor
            )
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            return optuna.create_study(
                direction="maximize" if config["valid_metric_bigger"] else "minimize", pruner=pruner
            )
        finally:
            optuna.logging.set_verbosity(level)

    def _train(self, candidate: Candidate) -> None:
        trial, is_kept = self._study.ask(), self._is_kept(candidate)
        last = int(self.trainings.config["epochs"])

        def goes_on(epoch: int, best: float) -> bool:
            trial.report(best, epoch)  # also of kept ones: the others are compared with them
            falls_behind = trial.should_prune() and epoch < last  # at the end there is nothing to stop
            return from_first(is_kept or not falls_behind)

        one = self.trainings.train(candidate, goes_on)
        self._tell(trial, one)
        self.trained.append(one)
        _LOG.info(
            "candidate %s (%s): %s %s at epoch %d, %s, %s; best so far %s",
            f"{len(self.trained)}/{sum(self._numbers)}" if self._numbers else len(self.trained),
            ", ".join(candidate.origins),
            self.trainings.config["valid_metric"].lower(),
            f"{one.score:.4f}",
            one.best_epoch,
            one.decision,
            duration(one.seconds),
            self._best_so_far(),
        )

    def _best_so_far(self) -> str:
        fit = [one for one in self.trained if not math.isnan(one.score)]
        choose = max if self.trainings.config["valid_metric_bigger"] else min
        best = choose(fit, key=lambda one: one.score, default=None)
        return "none" if best is None else f"{best.score:.4f} ({', '.join(best.candidate.origins)})"

    def _tell(self, trial: Any, one: Trained) -> None:
        from optuna.trial import TrialState

        state = TrialState.FAIL if one.failure else TrialState.PRUNED if one.stopped else TrialState.COMPLETE
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._study.tell(trial, one.score if state == TrialState.COMPLETE else None, state=state)

    def _refine(self) -> None:
        """Log a better estimate as soon as the first training has ended by itself, which tells how long one lasts."""
        ended = [one for one in self.trained if not one.stopped and not one.failure]
        if not self._numbers or len(ended) != 1 or ended[0] is not self.trained[-1]:
            return
        n_kept, n_others = self._numbers
        planned = self._planned(ended[0].epochs, n_kept, n_others)
        seconds = planned * ended[0].seconds / ended[0].epochs
        _LOG.info(
            "candidates: at %s a training about %d in all, %s",
            f"{ended[0].epochs} {plural(ended[0].epochs, 'epoch')}",
            planned,
            duration(seconds),
        )

    def _time_is_up(self) -> bool:
        """Return whether a training as long as the longest so far would exceed the time; the first never does."""
        if self.plan.seconds is None or not self.trained:
            return False
        longest = max(one.seconds for one in self.trained)
        return from_first(self._elapsed() + longest > self.plan.seconds)

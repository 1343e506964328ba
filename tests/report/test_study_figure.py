from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from recbole_nasr.report.study_figure import KINDS, save_optuna_plots
from recbole_nasr.studies.names import FIGURES


def test_the_plots_of_tuning_are_drawn_twice_each_and_none_without_a_finished_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = optuna.create_study(direction="maximize")
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
    capsys.readouterr()
    assert save_optuna_plots(study, tmp_path) == []
    for point in (0.1, 0.2, 0.4):
        trial = optuna.trial.create_trial(
            params={"rate": point},
            distributions={"rate": optuna.distributions.FloatDistribution(0.0, 1.0)},
            value=point,
            intermediate_values={0: point},
        )
        study.add_trial(trial)
    names = save_optuna_plots(study, tmp_path)
    assert {"optuna-history.svg", "optuna-history.png", "optuna-slice.svg", "optuna-intermediate.png"} <= {*names}
    assert all((tmp_path / name).stat().st_size for name in names)
    assert capsys.readouterr().err == ""


def test_every_kind_of_figure_that_a_study_may_name_is_drawn() -> None:
    assert {*KINDS, "fidelity", "optuna"} == {*FIGURES}  # the last two come with what the study does

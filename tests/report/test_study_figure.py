from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from matplotlib.figure import Figure

from recbole_nasr.report.study_figure import KINDS, save_differences, save_optuna_plots, save_study_figure
from recbole_nasr.request.arguments import parse_line
from recbole_nasr.statistics import paired_comparison
from recbole_nasr.studies.differences import Difference
from recbole_nasr.studies.names import FIGURES
from recbole_nasr.studies.plan import Cell
from recbole_nasr.studies.request import build_study_request
from recbole_nasr.studies.tables import FinishedRun
from tests.studies.conftest import record_of

STUDY = "title: T\npaper: P\nclaim: C\nruns:\n    NASR: {model: NASR}\n"


def drawn(kind: str, definition: str, runs: Sequence[FinishedRun]) -> Figure:
    """The figure of a study of one's own."""
    Path("mine.yaml").write_text(STUDY + definition)
    figure = Figure()
    KINDS[kind](figure, build_study_request(parse_line(["--study=mine.yaml", "--dataset=toy"])), runs)
    return figure


def finished(seed: int = 1, label: str = "NASR", point: dict[str, Any] | None = None, **facts: Any) -> FinishedRun:
    return FinishedRun(label, "toy", point or {}, record_of(Cell(label, "NASR", "toy", {}, seed), **facts))


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


def test_the_shares_by_depth_are_those_of_the_searches_of_each_row() -> None:
    searched = {"seconds": {"search": 1.0}}
    found = [finished(seed, architecture="tcn_d1_2,tcn_d1_4", **searched) for seed in (1, 2)]
    again = finished(1001, architecture="tcn_d1_2,tcn_d1_4")
    deeper = finished(1, "Deeper", architecture="tcn_d1_2,tcn_d1_4,tcn_d1_2", **searched)
    foreign = finished(1, "SASRec")
    axes = drawn("depth", "", [*found, again, deeper, foreign]).axes
    assert [one.get_ylabel() for one in axes] == ["share of 2 searches", "share of 1 search"]


@pytest.mark.parametrize(
    ("values", "places", "ticks", "scale"),
    [
        ("[4, 1, 2]", [1, 2, 4], ["1", "2", "4"], "log"),
        ("[0.0, 0.25]", [0, 0.25], ["0", "0.25"], "linear"),  # a logarithm would lose the first
        ("[[mask], [mask, crop]]", [0, 1], ["mask", "mask+crop"], "linear"),
        ("[null, 3]", [0, 1], ["None", "3"], "linear"),
        ("[b, a]", [0, 1], ["b", "a"], "linear"),
    ],
)
def test_a_curve_has_a_point_for_every_value_of_its_key(
    values: str, places: list[float], ticks: list[str], scale: str
) -> None:
    given = yaml.safe_load(values)
    runs = [finished(seed, point={"k": value}) for value in given for seed in (1, 2)]
    for kind, varied in (("lines", "grid"), ("panels", "one_at_a_time")):
        definition = f"{varied}: {{k: {values}}}\nfigure: {{kind: {kind}, x: k}}\n"
        (axes,) = drawn(kind, definition, runs).axes
        assert [*axes.lines[0].get_xdata()] == places
        assert [label.get_text() for label in axes.get_xticklabels()] == ticks
        assert axes.get_xscale() == (scale if kind == "lines" else "linear")


def test_panels_have_a_curve_for_each_row() -> None:
    runs = [finished(1, label, {"k": value}) for label in ("NASR", "B") for value in (1, 2)]
    (axes,) = drawn("panels", "    B: {model: NASR}\none_at_a_time: {k: [1, 2]}\n", runs).axes
    assert axes.get_legend_handles_labels()[1] == ["NASR", "B"]


def test_a_row_without_the_metric_of_the_figure_is_left_out() -> None:
    other = finished(1, "B", test={"mrr@2": 0.5})
    (axes,) = drawn("bars", "    B: {model: NASR}\n", [finished(), other]).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["NASR"]


def test_dollar_signs_in_the_name_of_a_row_are_no_mathematics(tmp_path: Path) -> None:
    comparison = paired_comparison([0.2, 0.4], [0.1, 0.2])
    unreadable = r"$\nothing$"  # an error of matplotlib's, as mathematics
    assert save_differences([Difference("ml", "NASR", unreadable, "ndcg@20", 2, comparison, 0.5, 0.5)], tmp_path)
    runs = [finished(1, unreadable), finished(1, "NASR")]
    Path("mine.yaml").write_text(STUDY + "figure: {kind: bars}\n")
    asked = build_study_request(parse_line(["--study=mine.yaml", "--dataset=toy"]))
    assert save_study_figure(asked, runs, tmp_path)


def test_what_a_difference_is_minus_can_be_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Figure] = []
    monkeypatch.setattr(
        "recbole_nasr.report.study_figure.save_both", lambda figure, *_, **__: kept.append(figure) or []
    )
    default = "NASR, search_epochs=1, search_n_paths=4, n_blocks=4"  # of the study sensitivity
    other = default.replace("=1", "=2")
    comparison = paired_comparison([0.2, 0.4], [0.1, 0.2])
    save_differences([Difference("ml", default, other, "ndcg@20", 2, comparison, 0.5, 0.5)], tmp_path)
    (figure,) = kept
    figure.draw_without_rendering()
    label = figure.axes[0].xaxis.label.get_window_extent()
    assert figure.bbox.x0 <= label.x0 < label.x1 <= figure.bbox.x1

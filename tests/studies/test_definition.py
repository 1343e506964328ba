from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from recbole_nasr.configuration.resources import available, resource_dir
from recbole_nasr.errors import ConfigError
from recbole_nasr.studies.base import base_settings
from recbole_nasr.studies.definition import FOLDER, StudyDefinition
from recbole_nasr.studies.names import check_names
from recbole_nasr.studies.plan import Cell, build_plan
from recbole_nasr.studies.request import StudyRequest

OWN = "title: T\npaper: P\nclaim: C\nruns:\n    A: {model: NASR, settings: {architecture: sasrec-1}}\n"


def test_a_file_of_ones_own_is_a_study_named_after_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(OWN + "grid:\n    n_layers: [1, 2]\nquick:\n    seeds: [1]\n")
    definition = StudyDefinition.load(str(path), quick=True)
    assert (definition.name, definition.seeds) == ("mine", (1,))
    assert definition.points() == [{"n_layers": 1}, {"n_layers": 2}]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (OWN + "grids:\n    n_layers: [1]\n", "Did you mean 'grid'?"),
        (OWN + "published: {ml: {A: {ndcg@20: high}}}\n", "a number for each metric"),
        (OWN + "published: {ml: 5}\n", "a table of data sets"),
        (OWN + "figure: {kind: 5}\n", "needs `figure` to be a table of texts"),
        (OWN + "grid: {n_layers: [1]}\nfigure: {kind: lines, x: [n_layers]}\n", "a table of texts"),
        (OWN + "quick:\n    seed: [1]\n", "Did you mean 'seeds'?"),
        (OWN.replace("settings", "setings"), "Did you mean 'settings'?"),
        (OWN.replace("model: NASR, ", ""), r"needs model \(of every row\)"),
        (OWN.replace("claim: C\n", ""), "needs claim"),
        ("- a list\n", "must consist of"),
        ("runs: [\n", "cannot be read"),
        (OWN + "quick: 3\n", "has 3 where a table"),
        (OWN + "seeds: 5\n", "needs `seeds` to be a list"),
        (OWN + "seeds: [true]\n", "needs `seeds` to be a list"),
        (OWN + f"n_trials: {10**18}\n", "needs `n_trials` to be an integer from 0 to 2147483647"),
        (OWN + "n_architectures: 10001\n", "an integer from 0 to 10000"),
        (OWN + "grid: {n_layers: 3}\n", "needs `grid` to be a table of lists"),
        (OWN + "quick:\n    n_trials: many\n", r"mine\.yaml \(quick\) needs `n_trials`"),
        (OWN.replace("model: NASR", "model: NASR, min_seeds: 1000000000"), "runs.A.min_seeds"),
        (OWN.replace("model: NASR", "model: 3"), "runs.A.model` to be text"),
        ("title: T\npaper: P\nclaim: C\nruns: 3\n", "needs `runs` to be a table of tables"),
        ("title: T\npaper: P\nclaim: C\nruns: {A: 3}\n", "where a table"),
    ],
)
def test_a_file_of_another_form_is_refused(text: str, part: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=part):
        StudyDefinition.load(str(path))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (OWN + "reference: B\n", r"`reference` to be one of its rows \(A\), but has 'B'"),
        (OWN + "grid: {n_layers: [1, 2]}\nreference: A\n", r"one of its rows \(A, n_layers=1; A, n_layers=2\), but"),
        (OWN + "grid: {n_layers: [1, 2]}\ncompare: n_layer\n", "Did you mean 'n_layers'?"),
        (
            OWN + "grid: {n_layers: [1, 2]}\ncompare: n_layers\nreference: A, n_layers=1\n",
            "`reference` or `compare`, not both",
        ),
        (
            OWN + "grid: {learning_rate: [0.00123456, 0.00123457]}\n",
            "rows whose names, with four digits of a fraction, differ, but has 'A, learning_rate=0.001235'",
        ),
        (OWN + "grid: {n_layers: [2, 2]}\n", "differ, but has 'A, n_layers=2'"),
        (OWN + "summary: costs\n", "Did you mean 'cost'?"),
        (OWN + "needs: [E1, E99]\n", "`needs` to be requirements .*; E15.*, but has 'E99'"),
        (OWN + "figure: {kind: bar}\n", "Did you mean 'bars'?"),
        (OWN + "figure: {kind: lines}\n", r"`figure.x` to be one of the keys it varies \(there is none\)"),
        (OWN + "figure: {kind: panels}\n", "`figure: {kind: panels}` only with `one_at_a_time`"),
        (
            OWN + "    B: {model: NASR, architecture_of: C}\n",
            r"`runs.B.architecture_of` to be one of its rows \(A; B\)",
        ),
        (
            OWN + "    B: {model: GRU4Rec}\n    C: {model: NASR, architecture_of: B}\n",
            "to be a row of the model NASRSearch or NASR with a network of its own, but has 'B'",
        ),
        (OWN + "    B: {model: NASR, architecture_of: B}\n", "with a network of its own, but has 'B'"),
        (
            OWN + "    B: {model: NASR, architecture_of: A}\ngrid: {n_layers: [1]}\n",
            "`architecture_of` only without `grid`",
        ),
        (OWN + "space: {n_layers: [1, 2]}\ngrid: {n_blocks: [1]}\n", "does nothing beside `space`, but has 'grid'"),
        (
            OWN + "    B: {model: NASRSearch, min_seeds: 2}\nsearch_seeds: [1]\nsummary: cost\n",
            "does nothing beside `search_seeds`, but has 'summary, runs.B.min_seeds'",
        ),
    ],
)
@pytest.mark.parametrize("quick", [False, True])
def test_a_name_that_stands_for_nothing_is_refused_before_anything_runs(
    text: str, part: str, *, quick: bool, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    definition = StudyDefinition.load(str(path), quick=quick)
    with pytest.raises(ConfigError, match=part):
        check_names(definition)


@pytest.mark.parametrize("name", available(FOLDER))
@pytest.mark.parametrize("quick", [False, True])
def test_the_names_in_every_shipped_study_stand_for_something(name: str, *, quick: bool) -> None:
    check_names(StudyDefinition.load(name, quick=quick))


def test_a_file_of_ones_own_may_sample_draw_or_transfer_as_a_shipped_study_does(
    ask: Callable[..., StudyRequest], tmp_path: Path
) -> None:
    for name in ("fidelity", "tune", "transfer"):
        (tmp_path / f"my-{name}.yaml").write_text((resource_dir("properties") / "study" / f"{name}.yaml").read_text())
    assert ask("my-fidelity.yaml", "--n_architectures=6", "--search_seeds=[1]").n_architectures == 6
    tuned = ask("my-tune.yaml", "--model=SASRec", "--pruner=none", "--space={'n_layers': [1]}")
    assert tuned.definition.runs[0].model == "SASRec"
    assert ask("my-transfer.yaml", "--target=other").datasets == ("toy", "other")
    with pytest.raises(ConfigError, match="needs a second data set"):
        ask("my-transfer.yaml")
    with pytest.raises(ConfigError, match="`--pruner` is for studies that draw"):
        ask("my-transfer.yaml", "--target=other", "--pruner=none")


def test_tuning_of_ones_own_keeps_its_model_its_settings_and_one_seed(
    ask: Callable[..., StudyRequest], tmp_path: Path
) -> None:
    own = OWN.replace("NASR", "SASRec").replace("{architecture: sasrec-1}", "{n_heads: 1}")
    (tmp_path / "mine.yaml").write_text(own + "settings: {epochs: 3}\nspace: {n_layers: [1, 2]}\nn_trials: 2\n")
    asked = ask("mine.yaml")
    assert [(run.label, run.model) for run in asked.definition.runs] == [("A", "SASRec")]
    assert asked.definition.settings == {"epochs": 3}
    assert asked.seeds == (2020,)
    (tmp_path / "mine.yaml").write_text(own + "space: {n_layers: [1, 2]}\nseeds: [1, 2]\n")
    with pytest.raises(ConfigError, match="every trial with one seed"):
        ask("mine.yaml")
    (tmp_path / "mine.yaml").write_text(own + "    B: {model: NASR}\nspace: {n_layers: [1, 2]}\n")
    with pytest.raises(ConfigError, match="draws the settings of one row, but has A, B"):
        ask("mine.yaml")


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        StudyDefinition.load("nowhere.yaml")


def test_a_grid_with_an_unknown_key_is_refused_before_anything_runs(
    toy: Path, ask: Callable[..., StudyRequest], tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(OWN + "grid:\n    n_layres: [1]\n")
    asked = ask("mine.yaml", "--data_path=data", "--device=cpu")
    with pytest.raises(ConfigError, match="Did you mean 'n_layers'"):
        build_plan(asked, {"toy": base_settings(asked, "toy")})


def test_a_row_that_is_never_validated_is_refused_before_anything_runs(
    toy: Path, ask: Callable[..., StudyRequest], tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(OWN.replace("sasrec-1}", "sasrec-1, eval_step: 0}"))
    asked = ask("mine.yaml", "--data_path=data", "--device=cpu")
    with pytest.raises(ConfigError, match="`eval_step` must be at least 1, but is 0"):
        build_plan(asked, {"toy": base_settings(asked, "toy")})


def test_a_row_with_more_seeds_than_the_one_it_takes_over_from_is_refused_before_anything_runs(
    toy: Path, ask: Callable[..., StudyRequest], tmp_path: Path
) -> None:
    shutil.copytree("data/toy", "data/other")
    Path("data/other/toy.inter").rename("data/other/other.inter")
    text = OWN + "    B: {model: NASR, architecture_of: A, min_seeds: 2}\n"
    (tmp_path / "mine.yaml").write_text(text)

    def plan(*words: str) -> list[Cell]:
        asked = ask("mine.yaml", "--target=other", "--data_path=data", "--device=cpu", *words)
        return build_plan(asked, {dataset: base_settings(asked, dataset) for dataset in asked.datasets})

    assert len(plan("--seeds=[1, 2]")) == 8
    with pytest.raises(ConfigError, match="needs the network of A on other, seed=2, which is no run of it"):
        plan("--seeds=[1]")


def test_the_user_may_change_what_is_only_a_default_of_a_row(toy: Path, ask: Callable[..., StudyRequest]) -> None:
    def epochs(*words: str) -> dict[str, int]:
        asked = ask("table2", "--quick", "--data_path=data", "--device=cpu", *words)
        return {cell.label: cell.settings["epochs"] for cell in build_plan(asked, {"toy": base_settings(asked, "toy")})}

    row, plain = "SASRec (RecBole, all positions)", "SASRec (RecBole)"
    assert (epochs()[row], epochs()[plain]) == (20, 1)
    assert epochs("--epochs=3")[row] == 3
    assert epochs("--NASR.epochs=3")[row] == 20


def test_what_a_search_finds_is_trained_again_with_seeds_of_its_own_in_the_recipe_of_its_row(
    toy: Path, ask: Callable[..., StudyRequest], tmp_path: Path
) -> None:
    search = "    S: {model: NASRSearch, settings: {search_epochs: 1, hidden_dropout_prob: 0.3}}\n"
    (tmp_path / "mine.yaml").write_text(OWN + search + "seeds: [1, 2]\n")
    asked = ask("mine.yaml", "--data_path=data", "--device=cpu", "--n_trainings=3", "--NASR.learning_rate=0.5")
    cells = build_plan(asked, {"toy": base_settings(asked, "toy")})
    again = [cell for cell in cells if cell.training > 1]
    assert [(cell.training, cell.seed, cell.needs) for cell in again] == [
        (2, 1001, "S on toy, seed=1"),
        (2, 1002, "S on toy, seed=2"),
        (3, 2001, "S on toy, seed=1"),
        (3, 2002, "S on toy, seed=2"),
    ]
    assert len({cell.key for cell in cells}) == len(cells) == 8
    found = again[0].given("transformer_h4/tcn_d1_2")
    assert (again[0].label, again[0].model, found["architecture"]) == ("S", "NASR", "transformer_h4/tcn_d1_2")
    assert found["hidden_dropout_prob"] == 0.3
    assert "search_epochs" not in found
    assert "learning_rate" not in found  # what is given to NASR alone is not for what NASRSearch has found


@pytest.mark.parametrize("seeds", [[1, 1001], [5, 2005]])
def test_seeds_that_a_training_would_share_with_another_search_or_its_trainings_are_refused(
    seeds: list[int], toy: Path, ask: Callable[..., StudyRequest], tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(OWN + f"    S: {{model: NASRSearch}}\nseeds: {seeds}\nn_trainings: 3\n")
    asked = ask("mine.yaml", "--data_path=data", "--device=cpu")
    with pytest.raises(ConfigError, match=r"must not differ by multiples of 1000, but two .* have [12]00[15]"):
        build_plan(asked, {"toy": base_settings(asked, "toy")})


@pytest.mark.parametrize(
    ("study", "part"), [("depth", "for studies that train what they search"), ("fidelity", "drop")]
)
def test_trainings_are_refused_where_nothing_is_found(study: str, part: str, ask: Callable[..., StudyRequest]) -> None:
    with pytest.raises(ConfigError, match=part):
        ask(study, "--n_trainings=2")


def test_a_study_of_ones_own_that_searches_nothing_has_no_further_trainings(
    ask: Callable[..., StudyRequest], tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(OWN + "n_trainings: 2\n")
    with pytest.raises(ConfigError, match="no row of the model NASRSearch"):
        ask("mine.yaml")

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_nasr.errors import ConfigError
from recbole_nasr.request.arguments import parse_line, parse_value
from recbole_nasr.request.request import Request, build_request


def request(*words: str) -> Request:
    return build_request(parse_line(words))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-3", 0.001),
        ("-0.5", -0.5),
        ("true", True),
        ("False", False),
        ("None", None),
        ("null", None),
        ("[10, 20]", [10, 20]),
        ("(1, 2)", [1, 2]),
        ("{'LS': 'valid_and_test'}", {"LS": "valid_and_test"}),
        ("NDCG@20", "NDCG@20"),
        ("[0,inf)", "[0,inf)"),
        ("'quoted'", "quoted"),
        ("[NDCG,Recall]", ["NDCG", "Recall"]),
        ("[ item_id_list ]", ["item_id_list"]),
        ("[True,None]", [True, None]),
        ("[true, false]", [True, False]),
        ("{'tie_embeddings': [true], 'n': 'true'}", {"tie_embeddings": [True], "n": "true"}),
        ("[null, 1]", [None, 1]),
        ("{'clip_grad_norm': [null], 'n': 'null'}", {"clip_grad_norm": [None], "n": "null"}),
        ("[true,NDCG]", ["true", "NDCG"]),
        ("[0,inf]", "[0,inf]"),
        ("[inf]", "[inf]"),
        ("[a b]", "[a b]"),
        ("[a,]", "[a,]"),
        ("", ""),
    ],
)
def test_a_value_is_a_literal_or_else_text(text: str, value: object) -> None:
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


@pytest.mark.parametrize("text", ["1-4", "0|1|2", "3_1|5_2", "re.pth", "1_4", "os.system('true')", "1+1", "1j", "b'x'"])
def test_text_that_recbole_would_evaluate_stays_text(text: str) -> None:
    assert parse_value(text) == text


@given(st.text(max_size=40))
def test_any_text_becomes_plain_data(text: str) -> None:
    assert isinstance(parse_value(text), (bool, int, float, str, list, dict, type(None)))


@pytest.mark.parametrize("word", ["--load_col={inter:[user_id]}", "--eval_args={split:{RS:[8,1,1]},mode:full}"])
def test_a_table_whose_quotes_the_shell_took_is_refused_with_how_to_write_it(word: str) -> None:
    key = word.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"must be a table.*write {key}=\"\{{\.\.\.\}}\""):
        parse_line([word])
    assert parse_line(["--load_col={'inter':['user_id']}"]) == {"load_col": {"inter": ["user_id"]}}


def test_everything_after_the_first_equals_sign_is_the_value() -> None:
    assert parse_line(["--search_space=a=b"]) == {"search_space": "a=b"}


def test_values_of_names_and_paths_are_not_read_as_numbers() -> None:
    assert parse_line(["--run_name=2024_01", "--gpu_id=0"]) == {"run_name": "2024_01", "gpu_id": "0"}


@pytest.mark.parametrize(
    "key",
    [
        *("runs_dir", "data_path", "architecture", "NASR.architecture", "source", "ops_module", "results", "study"),
        *("run", "recommend", "input", "output", "storage"),
    ],
)
def test_a_tilde_is_the_home_folder_where_a_key_names_a_place(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_line([f"--{key}=~/a b"]) == {key: f"{tmp_path}/a b"}  # a shell leaves it after the equals sign
    assert parse_line([f"--{key}=./~/x"]) == {key: "./~/x"}
    assert parse_line([f"--{key}=a/~"]) == {key: "a/~"}


def test_a_tilde_is_kept_where_a_key_names_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_line(["--target=~/s", "--user=~/s"]) == {"target": "~/s", "user": "~/s"}


def test_the_home_folder_of_nobody_is_refused_with_how_to_name_a_folder_of_that_name() -> None:
    with pytest.raises(ConfigError, match=r"`--runs_dir` .* '~no-such-user/x', .* --runs_dir=\./~no-such-user/x"):
        parse_line(["--runs_dir=~no-such-user/x"])


def test_a_tilde_is_the_home_folder_in_configuration_files_and_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.yaml").write_text("dataset: ml\ndata_path: ~/data\nruns_dir: ~/runs\nsearch_space: ~\n")
    (tmp_path / "b c.yaml").write_text("dataset: ml\nepochs: 1\n")
    found = request("--model=NASR", "--config_files=~/a.yaml ~/a.yaml")
    assert found.settings == {"data_path": f"{tmp_path}/data", "search_space": None}
    assert found.runs_dir == tmp_path / "runs"
    assert request("--model=NASR", "--config_files=~/b c.yaml").settings == {"epochs": 1}


@pytest.mark.parametrize("word", ["epochs=3", "--epochs", "-e=3", "--=3", "3", "--"])
def test_a_word_of_another_form_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="`--key=value`"):
        parse_line([word])


def test_a_key_given_twice_with_different_values_is_refused() -> None:
    assert parse_line(["--epochs=3", "--epochs=3"]) == {"epochs": 3}
    with pytest.raises(ConfigError, match="given twice, as 3 and 4"):
        parse_line(["--epochs=3", "--epochs=4"])


def test_several_models_are_named_with_commas() -> None:
    assert request("--model=SASRec, NASR", "--dataset=ml").models == ("SASRec", "NASR")


def test_the_command_line_outranks_files_and_later_files_earlier_ones(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("model: SASRec\ndataset: ml\nepochs: 1\nseed: 1\nlearning_rate: 1e-3\n")
    (tmp_path / "b.yaml").write_text("epochs: 2\nseed: 2\n")
    found = request("--config_files=a.yaml b.yaml", "--epochs=3")
    assert found.settings == {"epochs": 3, "seed": 2, "learning_rate": 0.001}
    assert (found.models, found.dataset) == (("SASRec",), "ml")


def test_a_configuration_file_may_have_spaces_in_its_path(tmp_path: Path) -> None:
    file = tmp_path / "my runs" / "settings.yaml"
    file.parent.mkdir()
    file.write_text("epochs: 3\n")
    found = request("--model=NASR", "--dataset=ml", f"--config_files={file}")  # as the last screen has it
    assert found.file_settings == {"epochs": 3}


def test_commas_between_configuration_files_are_refused_with_how_to_write_them() -> None:
    with pytest.raises(ConfigError, match=r'--config_files="a\.yaml b\.yaml", but got x\.yaml,y\.yaml'):
        request("--model=NASR", "--dataset=ml", "--config_files=x.yaml,y.yaml")


def test_our_own_keys_do_not_reach_the_models() -> None:
    found = request(
        "--model=NASR",
        "--dataset=ml",
        "--device=cpu",
        "--runs_dir=out",
        "--run_name=x",
        "--quick",
        "--seed=1",
    )
    assert found.settings == {"seed": 1}
    assert (found.device, found.runs_dir, found.run_name, found.quick) == ("cpu", Path("out"), "x", True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dataset=ml"], "`--model` is missing"),
        (["--model=NASR"], "`--dataset` is missing"),
        (["--model=NASR,NASR", "--dataset=ml"], "NASR is named more than once"),
        (["--model=NASR", "--dataset=ml", "--device=cud"], "Did you mean 'cuda'"),
        (["--model=NASR", "--dataset=ml", "--device=cuda:1"], "--gpu_id"),
        (["--model=NASR", "--dataset=ml", "--run_name=a/b"], "`run_name` becomes part of a folder's name"),
        (["--model=NASR", "--dataset=../ml"], "`dataset` becomes part of a folder's name"),
        (["--model=NASR", "--dataset=ml", "--quick=2"], "`quick` must be True or False"),
        (["--model=NASR", "--dataset=ml", "--config_files=nowhere.yaml"], "nowhere.yaml cannot be read"),
    ],
)
def test_a_command_that_cannot_be_meant_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        request(*words)

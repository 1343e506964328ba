from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recbole_nasr import load
from recbole_nasr.commands import cli
from recbole_nasr.commands.cli import main
from recbole_nasr.commands.help import help_text, version_text
from recbole_nasr.machine import program, program_words
from recbole_nasr.request.arguments import parse_line
from recbole_nasr.request.request import Request, described_words, kept_words
from recbole_nasr.space import Architecture
from recbole_nasr.start import asks_for_text

SMALL = (
    "--data_path=data",
    "--epochs=2",
    "--hidden_size=8",
    "--train_batch_size=32",
    "--MAX_ITEM_LIST_LENGTH=8",
    "--device=cpu",
    "--topk=[2, 5]",
)
TINY_SEARCH = (
    *("--n_layers=2", "--n_blocks=2", "--search_epochs=1", "--search_min_steps=0"),
    "--candidate_ops=['transformer_h2','tcn_d1_2']",
)
ROOT = Path(__file__).parents[2]


def command(*words: str, models: str = "NASR", dataset: str = "toy") -> int:
    return main([f"--model={models}", f"--dataset={dataset}", *SMALL, *words])


def only_run(label: str) -> Path:
    (found,) = Path("runs/toy").glob(f"*-{label}")
    return found


def test_search_to_report_in_one_command(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(*TINY_SEARCH, models="NASRSearch") == cli.OK
    folder = only_run("NASRSearch")
    architecture = Architecture.load(folder / "architecture.json")
    assert [len(block) for block in architecture.blocks] == [1, 1]
    with (folder / "ranking" / "block-1.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["transformer_h2", "tcn_d1_2"]
    assert [row["path"] for row in rows if row["selected"] == "1"] == [architecture.layers[0]]
    for name in ("architecture.svg", "architecture.png", "report.md", "metrics.json", "ranks.csv.gz", "model.pth"):
        assert (folder / name).stat().st_size > 0
    assert json.loads((folder / "run.json").read_text())["status"] == "finished"
    screen = capsys.readouterr().out
    for part in ("NDCG@5", "block 1", str(folder), f"--architecture={folder} ", "epoch 2/2"):
        assert part in screen


def test_a_found_architecture_can_be_trained_again(toy: Path) -> None:
    assert command(*TINY_SEARCH, models="NASRSearch") == cli.OK
    found = only_run("NASRSearch")
    assert command(f"--architecture={found}", *TINY_SEARCH[:2]) == cli.OK
    again = Architecture.load(only_run("NASR") / "architecture.json")
    assert again == Architecture.load(found / "architecture.json")
    metrics = [json.loads((only_run(label) / "metrics.json").read_text()) for label in ("NASRSearch", "NASR")]
    assert metrics[0]["test"] == metrics[1]["test"]  # the same network, seed and recipe, found or given


def test_an_architecture_can_be_made_deeper_and_outlives_the_run_it_came_from(toy: Path) -> None:
    assert command("--architecture=transformer_h2,tcn_d1_2", "--run_name=found") == cli.OK
    found = only_run("NASR-found")
    assert command(f"--architecture={found}", "--n_layers=4", "--run_name=deep") == cli.OK
    deep = only_run("NASR-deep")
    names = ("transformer_h2", "transformer_h2", "tcn_d1_2", "tcn_d1_2")
    assert Architecture.load(deep / "architecture.json").layers == names
    shutil.rmtree(found)
    network = load(deep, "cpu").loaded.model.network
    assert network.architecture.layers == names


def test_the_next_commands_write_where_this_one_has_written(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--architecture=gru4rec", "--runs_dir=my runs") == cli.OK
    following = capsys.readouterr().out.split("Next\n")[1].splitlines()
    training = [line for line in following if "--model=" in line]
    assert len(training) == 2
    assert all("'--runs_dir=my runs'" in line for line in training)


def test_the_next_commands_keep_the_data_and_the_device_and_no_other_setting() -> None:
    place = ["--data_path=my data", "--device=cuda", "--gpu_id=1", "--split_by=time", "--ops_module=mine.py"]
    assert kept_words(["python", "run_nasr.py", "--epochs=3", *place, "--train_scheme=prefix", "--seed=1"]) == place


def test_the_next_commands_keep_the_place_the_device_and_the_encoding_of_a_file(
    write_inter: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_inter((f"u{user}", f"i{(user + step) % 9}", float(step)) for user in range(9) for step in range(8))
    file = folder / "toy" / "toy.inter"
    file.write_text(file.read_text().replace("i1", "\xe9"), encoding="latin-1")
    Path("here.yaml").write_text("runs_dir: 2024\ndevice: cpu\nencoding: latin-1\n")
    words = [word for word in SMALL if not word.startswith("--device")]
    assert main(["--model=GRU4Rec", "--dataset=toy", *words, "--config_files=here.yaml"]) == cli.OK
    following = capsys.readouterr().out.split("Next\n")[1].splitlines()
    (training,) = [line for line in following if "--model=" in line]
    assert {"--runs_dir=2024", "--device=cpu", "--encoding=latin-1"} <= set(training.split())


def test_the_next_commands_say_nothing_of_a_place_or_device_that_is_the_usual_one() -> None:
    usual = Request(("NASR",), "toy")
    assert kept_words(["run_nasr.py", "--epochs=3"], usual) == []
    in_file = Request(("NASR",), "toy", runs_dir=Path("out"), device="cuda", file_settings={"gpu_id": "1"})
    assert kept_words(["run_nasr.py"], in_file) == ["--gpu_id=1", "--runs_dir=out", "--device=cuda"]
    assert kept_words(["run_nasr.py", "--gpu_id=1", "--runs_dir=out"], in_file) == kept_words([], in_file)
    assert parse_line(kept_words([], in_file)) == {"gpu_id": "1", "runs_dir": "out", "device": "cuda"}


def test_the_next_commands_know_what_a_file_or_the_line_says_of_the_data() -> None:
    columns = {"load_col": {"inter": ["who", "what"]}, "USER_ID_FIELD": "7", "field_separator": "\t", "threshold": None}
    request = Request(
        ("NASR",), "toy", file_settings={**columns, "data_path": "a", "epochs": 3}, line_settings={"data_path": "b"}
    )
    assert parse_line(described_words(request)) == columns
    assert '--load_col={"inter": ["who", "what"]}' in described_words(request)
    assert kept_words(["--ITEM_ID_FIELD=what", "--epochs=3"]) == ["--ITEM_ID_FIELD=what"]
    own = Request(("NASR",), "toy", file_settings={"source": "7", "user_column": None, "time_column": "1"})
    assert parse_line(described_words(own)) == {"source": "7", "time_column": "1"}


def test_a_search_that_is_offered_is_evaluated_as_the_run_before() -> None:
    args = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": {"valid": "full", "test": "uni20"}}
    measured = {"metrics": ["MRR"], "topk": [5], "valid_metric": "MRR@5", "eval_args": args, "mask_history": True}
    in_file = Request(("NASR",), "toy", file_settings={**measured, "epochs": 3, "topk": 7}, line_settings={"topk": [5]})
    assert parse_line(described_words(in_file)) == measured
    on_line = Request(("NASR",), "toy", line_settings={**measured, "SASRec.metrics": ["NDCG"], "load_col": None})
    assert parse_line(described_words(on_line)) == measured


def test_a_run_outlives_the_program_that_its_output_went_to(toy: Path) -> None:
    reads, writes = os.pipe()
    os.close(reads)  # as `head -1` does once it has its line, and a pager that is left
    words = [sys.executable, str(ROOT / "run_nasr.py"), "--model=NASR", "--dataset=toy", *SMALL]
    try:
        done = subprocess.run(words, stdout=writes, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writes)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((only_run("NASR") / "run.json").read_text())["status"] == "finished"


def test_a_preset_with_a_depth_of_its_own_is_not_stretched_when_it_is_loaded(toy: Path) -> None:
    assert command("--architecture=gru4rec", "--n_layers=4") == cli.OK
    assert load(only_run("NASR"), "cpu").loaded.model.architecture.layers == ("gru4rec",)


def test_a_comparison_ends_in_one_table(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--n_layers=1", "--n_blocks=1", "--architecture=gru4rec", models="GRU4Rec,NASR") == cli.OK
    with (only_run("comparison") / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["GRU4Rec", "NASR"]
    for row in rows:
        metrics = json.loads((Path("runs/toy") / row["run"] / "metrics.json").read_text())
        assert float(row["NDCG@5"]) == metrics["test"]["ndcg@5"]
    table, differences = (
        capsys.readouterr().out.split("Test results")[1].split("GRU4Rec against each other one, NDCG@5")
    )
    assert table.count("GRU4Rec ") == table.count("NASR ") == 1
    assert "  NASR " in differences


def test_the_settings_of_a_run_can_be_run_again(toy: Path) -> None:
    assert command("--architecture=gru4rec") == cli.OK
    first = only_run("NASR")
    assert main([f"--config_files={first / 'settings.yaml'}", "--run_name=again"]) == cli.OK
    runs = [json.loads((folder / "metrics.json").read_text()) for folder in (first, only_run("NASR-again"))]
    assert runs[0] == runs[1]


def test_only_the_run_folder_and_the_data_cache_are_written(toy: Path) -> None:
    command("--architecture=gru4rec", "--runs_dir=elsewhere")
    assert {path.name for path in Path().iterdir()} == {"data", "elsewhere"}


@pytest.mark.parametrize(
    "words",
    [["--model=SASRek"], ["--dataset=toy2"], ["--epoch=3"], ["epochs=3"], ["--device=gpu"], ["--architecture=none"]],
)
def test_bad_input_is_one_line_and_exit_code_2(toy: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    given = {"--model": "NASR", "--dataset": "toy", "--data_path": "data"}
    rest = [word for word in words if word.partition("=")[0] not in given]
    given.update(word.split("=") for word in words if word not in rest)
    assert main([*(f"{key}={value}" for key, value in given.items()), *rest]) == cli.USER_ERROR
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert not Path("runs").exists()


def test_an_interrupted_run_leaves_130_and_says_so(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("recbole_nasr.runs.pipeline.EpochLines.__call__", interrupt)
    assert command("--architecture=gru4rec") == cli.INTERRUPTED
    assert capsys.readouterr().err.startswith("error: interrupted")
    assert json.loads((only_run("NASR") / "run.json").read_text())["status"] == "interrupted"


def test_an_interruption_of_a_later_model_leaves_the_table_of_the_earlier_ones(
    toy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_model = cli.run_model

    def interrupt_nasr(model: str, *rest: Any, **named: Any) -> Any:
        if model == "NASR":
            raise KeyboardInterrupt
        return run_model(model, *rest, **named)

    monkeypatch.setattr(cli, "run_model", interrupt_nasr)
    assert command("--architecture=sasrec-1", models="GRU4Rec,NASR") == cli.INTERRUPTED
    shown = capsys.readouterr()
    assert shown.out.split("Test results")[1].count("\nGRU4Rec ") == 1
    assert shown.err.startswith("error: interrupted")


def test_an_error_of_the_program_keeps_its_traceback(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("recbole_nasr.runs.pipeline.EpochLines.__call__", fail)
    with pytest.raises(ZeroDivisionError):
        command("--architecture=gru4rec")


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_teaches_the_commands_and_fits_a_terminal(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == cli.OK
    text = capsys.readouterr().out
    for part in ("--model=NASRSearch --dataset=ml", "--model=SASRec,NextItNet,NASR", "sasrec-1", "--quick", "runs/"):
        assert part in text
    assert max(len(line) for line in text.splitlines()) <= 100


def test_help_tells_apart_what_newcomers_mix_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == cli.OK
    text = " ".join(capsys.readouterr().out.split())
    for part in (
        "NASRSearch: search an architecture, then train and test it; NASR: train and test one architecture",
        "results on ml and ml-100k do not compare",
        "self-attention with 4 heads, then convolutions of dilations 1 and 2",
    ):
        assert part in text


def test_prepare_stops_after_the_data_report_of_a_file_of_the_users(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{user},{(user + step) % 10},{1_600_000_000 + step}" for user in range(12) for step in range(8)]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id,ts", *rows]) + "\n")
    given = ["--dataset=mine", "--source=log.csv", "--data_path=data", "--prepare", "--order_signal=true"]
    assert main(given) == cli.OK
    screen = capsys.readouterr().out
    assert ["mine", "96", "12", "10", "8"] in [line.split() for line in screen.splitlines()]
    assert "a first-order Markov model has 1.0000 of the test items" in screen
    assert not Path("runs").exists()
    (folder,) = Path("data").glob("mine-*")
    assert (folder / "report.txt").read_text() in screen
    assert main(["--dataset=mine", "--source=log.csv", "--data_path=data", "--prepare", "--user_column=who"]) == 2
    assert "user_column='who' is not a column" in capsys.readouterr().err


def test_prepare_says_of_data_that_are_read_as_they_are_that_there_is_nothing_to_do(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--dataset=toy", "--data_path=data", "--prepare"]) == cli.OK
    assert capsys.readouterr().out == "toy is read as it is; there is nothing to prepare.\n"
    assert not Path("runs").exists()


def test_a_file_of_the_users_is_prepared_and_compared_split_by_time(tmp_path: Path) -> None:
    rows = [
        f"{user}\t{(user + step) % 10}\t{1_600_000_000 + 90 * step + user}" for user in range(12) for step in range(8)
    ]
    (tmp_path / "log.tsv").write_text("\n".join(["user\titem\ttime", *rows]) + "\n")
    words = ("--source=log.tsv", "--split_by=time", "--architecture=gru4rec", "--train_neg_sample_args=None")
    assert command(*words, models="GRU4Rec,NASR", dataset="mine") == cli.OK
    metrics = [json.loads(path.read_text()) for path in Path("runs/mine").glob("*/metrics.json")]
    assert [found["data"]["test_cases"] for found in metrics] == [10, 10]


def test_quick_is_said_on_the_screen(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--quick", "--architecture=gru4rec") == cli.OK
    assert (
        "--quick: a first look, not a result; n_layers=4, n_blocks=2, epochs=2, learning_rate=0.003"
        in capsys.readouterr().out
    )


def test_a_quick_search_ends_beside_plain_and_random_networks(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--n_layers=1", "--n_blocks=1", "--candidate_ops=['transformer_h2','transformer_h4']")
    assert command("--quick", *words, models="NASRSearch") == cli.OK
    screen = capsys.readouterr().out
    names = ["NASRSearch", "SASRec-1", "NextItNet-1", "Random"]
    table = screen.split("Test results")[1].split("NASRSearch against")[0]
    assert [line.split()[0] for line in table.splitlines() if line.startswith(tuple(names))] == names
    differences = screen.split("NASRSearch against")[1]
    assert all(f"  {name} " in differences for name in names[1:])
    assert json.loads((only_run("Random") / "run.json").read_text())["label"] == "Random"
    assert (only_run("comparison") / "comparison.png").stat().st_size > 0
    assert main(["--list"]) == cli.OK
    assert " NextItNet-1 " in capsys.readouterr().out


def test_the_script_in_the_checkout_runs_the_command_line() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "run_nasr.py"), "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("recbole-nasr ")
    assert "recbole 1.2" in done.stdout


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--version"]])
def test_a_shell_is_shown_help_and_versions_without_torch_and_recbole(words: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['/bin/recbole-nasr', *{words}]; from recbole_nasr.start import main; code = main(); "
        "print(code, sorted({'recbole', 'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *text, last = done.stdout.splitlines()
    assert last == "0 []"
    assert text == ([version_text()] if words == ["--version"] else help_text().splitlines())


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["run_nasr.py"],
        ["mine.py", "--help"],
        ["run_nasr.py", "--help", "--model=NASR"],
        ["recbole-nasr", "--model=NASR"],
    ],
)
def test_all_other_programs_and_commands_have_recbole_repaired_from_the_start(argv: list[str]) -> None:
    assert not asks_for_text(argv)


@pytest.mark.parametrize("interrupted", ["recbole", "filelock"])
@pytest.mark.parametrize("called", ["run_nasr.py", "recbole-nasr", "-m", "mine.py"])
def test_ctrl_c_while_the_program_imports_is_one_line(called: str, interrupted: str, tmp_path: Path) -> None:
    (tmp_path / f"{interrupted}.py").write_text("raise KeyboardInterrupt")
    shutil.copy(ROOT / "run_nasr.py", tmp_path / called)
    words = ["-m", "recbole_nasr"] if called == "-m" else [str(tmp_path / called)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, env=environment)
    if called == "mine.py":
        assert done.stderr.endswith("KeyboardInterrupt\n")
    else:
        assert (done.returncode, done.stderr) == (cli.INTERRUPTED, "error: interrupted.\n")


@pytest.mark.parametrize(
    ("called", "words"),
    [
        ("run_nasr.py", ["python", "run_nasr.py"]),
        ("/a folder/run_nasr.py", ["python", "/a folder/run_nasr.py"]),
        ("/env/bin/recbole-nasr", ["recbole-nasr"]),
        ("recbole-nasr.exe", ["recbole-nasr"]),
        ("/env/lib/recbole_nasr/__main__.py", ["python", "-m", "recbole_nasr"]),
        ("/env/bin/pytest", ["python", "run_nasr.py"]),
    ],
)
def test_a_command_that_is_shown_calls_the_program_as_it_was_called(
    called: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", [called, "--model=NASR"])
    assert program_words() == words
    assert shlex.split(program()) == words


def test_the_package_is_the_command_line() -> None:
    words = [sys.executable, "-m", "recbole_nasr", "--model=NASR"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "error: `--dataset` is missing; for instance --dataset=ml. See --help.\n",
    )

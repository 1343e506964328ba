from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from recbole_nasr import HybridNet, load
from recbole_nasr.commands.cli import main
from recbole_nasr.configuration.resources import available, load_yaml
from recbole_nasr.errors import ConfigError, NumericalError
from recbole_nasr.ops import LayerSettings
from recbole_nasr.serving import export, measured
from recbole_nasr.serving.card import licence
from recbole_nasr.serving.export import export_run
from recbole_nasr.serving.measured import checked_parity
from recbole_nasr.serving.network import TopKNetwork, eager_runner, file_runner, random_histories, write_network
from recbole_nasr.space import Architecture

N_ITEMS, LENGTH = 20, 7
RECURRENT = {"gru", "gru4rec"}


def need_onnx() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="pip install 'recbole-nasr[onnx]'")


def every_operation() -> set[str]:
    spaces = [load_yaml("properties/space", name)["candidate_ops"] for name in available("properties/space")]
    return {name for space in spaces for name in space} | {"gru4rec"}


def network_of(
    operations: set[str], *, exclude_seen: bool = True, length: int = LENGTH, tied: bool = False
) -> TopKNetwork:
    torch.manual_seed(0)
    architecture = Architecture((tuple(sorted(operations)),))
    net = HybridNet(
        architecture,
        n_items=N_ITEMS,
        max_length=length,
        settings=LayerSettings(hidden_size=8),
        tie_embeddings=tied,
    )
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)  # gates open, embeddings apart
    return TopKNetwork(net, k=5, exclude_seen=exclude_seen).eval()


def check_parity(operations: set[str], file_format: str, folder: Path, *, tied: bool = False) -> None:
    network = network_of(operations, tied=tied)
    run = file_runner(write_network(network, file_format, LENGTH, folder))
    text = checked_parity(eager_runner(network), run, LENGTH, N_ITEMS).text()
    assert text.startswith("parity: 257 random histories, the same items in 257, ")


def test_a_torch_file_gives_what_the_network_gives_for_every_operation(tmp_path: Path) -> None:
    operations = every_operation()
    assert len(operations) >= 12
    check_parity(operations, "torch", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("recurrent", [False, True])
def test_an_onnx_file_gives_what_the_network_gives_for_every_operation(recurrent: bool, tmp_path: Path) -> None:
    need_onnx()
    operations = every_operation()
    check_parity(operations & RECURRENT if recurrent else operations - RECURRENT, "onnx", tmp_path)


@pytest.mark.parametrize("file_format", ["torch", pytest.param("onnx", marks=pytest.mark.slow)])
def test_a_file_gives_what_a_network_with_a_tied_softmax_layer_gives(file_format: str, tmp_path: Path) -> None:
    if file_format == "onnx":
        need_onnx()
    check_parity({"skip", "ffn"}, file_format, tmp_path, tied=True)


def test_sequences_beyond_the_plain_attention_are_exported_too(tmp_path: Path) -> None:
    network = network_of({"transformer_h2"}, length=70)
    checked_parity(eager_runner(network), file_runner(write_network(network, "torch", 70, tmp_path)), 70, N_ITEMS)


def test_seen_items_are_left_out_only_if_asked() -> None:
    item_seq, item_seq_len = random_histories(40, LENGTH, N_ITEMS)
    without, with_seen = (
        eager_runner(network_of({"skip"}, exclude_seen=switch))(item_seq, item_seq_len)[0] for switch in (True, False)
    )
    assert not any(set(best) & set(row) for best, row in zip(without, item_seq, strict=True))
    assert any(set(best) & set(row) for best, row in zip(with_seen, item_seq, strict=True))
    assert (with_seen > 0).all()


@pytest.mark.parametrize("file_format", ["torch", pytest.param("onnx", marks=pytest.mark.slow)])
def test_where_nothing_is_left_the_number_is_0_and_never_that_of_a_seen_item(file_format: str, tmp_path: Path) -> None:
    if file_format == "onnx":
        need_onnx()
    network = network_of({"skip"})
    network.k = N_ITEMS - 1
    run = file_runner(write_network(network, file_format, LENGTH, tmp_path))
    item_seq, item_seq_len = random_histories(40, LENGTH, N_ITEMS)
    for runner in (eager_runner(network), run):
        ids, scores = runner(item_seq, item_seq_len)
        for row, best, values in zip(item_seq, ids, scores, strict=True):
            left = set(range(1, N_ITEMS)) - set(row)
            assert set(best[: len(left)]) == left
            assert not best[len(left) :].any()
            assert np.isneginf(values[len(left) :]).all()
            assert np.isfinite(values[: len(left)]).all()


def test_another_result_is_refused_and_nothing_is_kept(
    trained: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(item_seq: np.ndarray, item_seq_len: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        network = TopKNetwork(load(trained.nasr, "cpu").loaded.model.network, 10, exclude_seen=True)
        ids, scores = eager_runner(network.eval())(item_seq, item_seq_len)
        return ids, scores + np.float32(0.01)

    monkeypatch.setattr(export, "write_network", lambda *_: None)
    monkeypatch.setattr(export, "file_runner", lambda _: wrong)
    with pytest.raises(NumericalError, match="nothing was kept"):
        export_run(trained.nasr, "torch", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused_before_the_run_is_loaded(
    own_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recbole_nasr.serving.export.load_run", None)
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (own_copy, os.W_OK))
    with pytest.raises(ConfigError, match=r"cannot be written; name another place for the export with --output"):
        export_run(own_copy, "torch")


def test_two_exports_into_one_folder_do_not_mix(
    trained: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "_SECONDS_PER_ROUND", 0.0)
    target, refused = tmp_path / "out", []

    def start_another(text: str) -> None:  # in the middle of the first
        if not refused:
            with pytest.raises(ConfigError, match=r"Another process writes .*out at this moment") as found:
                export_run(trained.nasr, "torch", target, k=5)
            refused.append(found)

    export_run(trained.nasr, "torch", target, k=4, say=start_another)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert "the best 4 next items" in (target / "README.md").read_text()
    check_card(trained, target)


@pytest.mark.parametrize(
    ("dataset", "release", "source", "expected"),
    [
        ("ml", "100k", None, "MovieLens 100K was collected by GroupLens"),
        ("ml-1m", None, None, "MovieLens 1M was collected by GroupLens"),
        ("ml", "25m", None, "release 25m, by GroupLens"),
        ("ml", "100k", "some/ratings.csv", "release ratings.csv, by GroupLens"),
        ("lastfm", None, None, "non-commercial use"),
        ("shop", None, "shop.csv", "Not known to the program"),
        ("1m", None, None, "Not known to the program"),
    ],
)
def test_the_card_says_of_the_licence_what_is_known_of_that_very_data_set(
    dataset: str, release: str | None, source: str | None, expected: str
) -> None:
    assert expected in licence({"dataset": dataset, "ml_release": release, "source": source})


def code_of(folder: Path) -> str:
    found = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def run_card(folder: Path, *without: str) -> list[tuple[str, float]]:
    """Run the code of a model card in a process that cannot import some packages."""
    missing = "".join(f"sys.modules[{name!r}] = None\n" for name in without)
    code = f"import sys\n{missing}{code_of(folder)}"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    found: list[tuple[str, float]] = eval(done.stdout)  # noqa: S307 - what the line above printed
    return found


def check_card(trained: SimpleNamespace, folder: Path, *without: str) -> None:
    recommender = load(trained.nasr, "cpu")
    first = recommender.vocabulary.names[1:3].tolist()
    expected = recommender.recommend([first], k=4)
    found = run_card(folder, *without)
    assert [name for name, _ in found] == expected["item"].tolist()
    assert [score for _, score in found] == pytest.approx(expected["score"].tolist(), abs=2e-3)


def test_the_command_leaves_a_folder_that_runs_without_this_package(
    trained: SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "_SECONDS_PER_ROUND", 0.0)
    assert main(["--export=torch", f"--run={trained.nasr}", "--output=net", "--k=4"]) == 0
    shown = capsys.readouterr().out
    assert "the same items in 257" in shown
    rows = [line.split() for line in shown.split("batch")[-1].splitlines()]
    assert [row[0] for row in rows if row and row[0][0].isdigit()] == ["1", "32", "1,024"]
    names = sorted(path.name for path in Path("net").iterdir())
    assert names == ["README.md", "architecture.json", "items.csv", "model.pt2"]
    card = (Path("net") / "README.md").read_text()
    for part in (
        "| recall@5 | ",
        "block 1   transformer_h2  tcn_d1_2",
        "Licence of the data: Not known",
        "--export=torch",
    ):
        assert part in card
    check_card(trained, Path("net"), "recbole_nasr", "recbole")


def test_the_code_of_the_card_shows_fewer_than_k_items_where_fewer_are_left(
    trained: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "_SECONDS_PER_ROUND", 0.0)
    k = len(load(trained.nasr, "cpu").vocabulary) - 1
    export_run(trained.nasr, "torch", Path("net"), k=k)
    assert len(run_card(Path("net"))) == k - 2
    assert "`ids` are 0 and `scores` -inf where fewer items are left" in (Path("net") / "README.md").read_text()


def test_onnx_runs_without_torch(trained: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    need_onnx()
    monkeypatch.setattr(measured, "_SECONDS_PER_ROUND", 0.0)
    export_run(trained.nasr, "onnx", Path("net"), k=4)
    check_card(trained, Path("net"), "torch", "recbole_nasr", "recbole", "onnx")


def test_a_missing_package_is_named_with_what_to_type(
    trained: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match="onnxruntime; pip install onnx onnxscript onnxruntime"):
        export_run(trained.nasr, "onnx", Path("net"))

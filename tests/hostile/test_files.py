"""Attacks through archives, arrays, tables, JSON and checkpoints that are well-formed but mean harm."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_nasr import load, unpacking
from recbole_nasr.checkpoints.reading import load_checkpoint
from recbole_nasr.commands.cli import main
from recbole_nasr.data.archives import open_member
from recbole_nasr.data.compact import load_compact
from recbole_nasr.data.raw import Reading, read_raw
from recbole_nasr.data.vocabulary import Vocabulary
from recbole_nasr.documents import parse_json, read_document
from recbole_nasr.errors import ArchitectureError, CheckpointError, DataError, NASRError
from recbole_nasr.runs.results import load_ranks
from recbole_nasr.serving.saved import load_data, load_run
from recbole_nasr.serving.tables import runs_text
from recbole_nasr.space import Architecture
from recbole_nasr.studies.record import load_record

KEPT = Path(__file__).parents[1] / "compatibility" / "v1"
RUN = KEPT / "runs" / "mine" / "NASR-network"
ROWS = b"user,item,time\n" + b"".join(b"u%d,i%d,%d\n" % (n // 4, n % 7, n) for n in range(40))


def zip_of(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)


def link_in_zip(path: Path) -> None:
    info = zipfile.ZipInfo("ratings.csv")
    info.external_attr = 0o120777 << 16
    zip_of(path, (info, b"/etc/passwd"))


def tar_of(path: Path, name: str, **facts: Any) -> None:
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(name)
        for key, value in facts.items():
            setattr(info, key, value)
        archive.addfile(info)


def locked_zip(path: Path) -> None:
    zip_of(path, ("ratings.csv", ROWS))
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the mark that an entry has a password, in both of its heads
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(content))


ARCHIVES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "zip: parent folder": ("a.zip", lambda path: zip_of(path, ("../ratings.csv", ROWS))),
    "zip: parent folder among others": ("a.zip", lambda path: zip_of(path, ("ratings.csv", ROWS), ("x/../../y", b""))),
    "zip: absolute": ("a.zip", lambda path: zip_of(path, ("/etc/ratings.csv", ROWS))),
    "zip: drive": ("a.zip", lambda path: zip_of(path, ("C:\\ratings.csv", ROWS))),
    "zip: backslashes": ("a.zip", lambda path: zip_of(path, ("..\\ratings.csv", ROWS))),
    "zip: a link": ("a.zip", link_in_zip),
    "zip: a password": ("a.zip", locked_zip),
    "zip: nothing": ("a.zip", zip_of),
    "tar: parent folder": ("a.tar.gz", lambda path: tar_of(path, "../ratings.csv")),
    "tar: absolute": ("a.tar.gz", lambda path: tar_of(path, "/ratings.csv")),
    "tar: a symbolic link": (
        "a.tar.gz", lambda path: tar_of(path, "ratings.csv", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    ),
    "tar: a hard link": (
        "a.tar.gz", lambda path: tar_of(path, "ratings.csv", type=tarfile.LNKTYPE, linkname="../../etc/passwd")
    ),
    "tar: a link to itself": (
        "a.tar.gz", lambda path: tar_of(path, "ratings.csv", type=tarfile.SYMTYPE, linkname="ratings.csv")
    ),
    "tar: a device": ("a.tar.gz", lambda path: tar_of(path, "ratings.csv", type=tarfile.CHRTYPE, devmajor=1)),
    "tar: a pipe": ("a.tar.gz", lambda path: tar_of(path, "ratings.csv", type=tarfile.FIFOTYPE)),
    "tar: longer than the file": ("a.tar.gz", lambda path: tar_of(path, "ratings.csv", size=10**15)),
    "no archive": ("a.zip", lambda path: path.write_bytes(ROWS)),
    "no gzip": ("ratings.csv.gz", lambda path: path.write_bytes(ROWS)),
    "a folder": ("ratings.csv", Path.mkdir),
}  # fmt: skip


def read(path: Path) -> Any:
    return read_raw(path, ("ratings.csv",), Reading({"separator": None}, "auto", "id_or_name", 0))


@pytest.mark.parametrize(("name", "make"), ARCHIVES.values(), ids=ARCHIVES.keys())
def test_a_hostile_archive_is_refused_and_nothing_is_written(
    name: str, make: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    make(folder / name)
    with pytest.raises(DataError):
        read(folder / name)
    assert [path.name for path in tmp_path.rglob("*")] == ["in", name]


def test_of_entries_with_one_name_one_is_read(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        zip_of(tmp_path / "a.zip", ("ratings.csv", b"?"), ("ratings.csv", ROWS))
    assert len(read(tmp_path / "a.zip").table) == 40


BOMBS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("ratings.csv.gz", gzip.compress),
    "gzip in gzip": ("ratings.csv.gz", lambda content: gzip.compress(content) + gzip.compress(content)),
    "zip": ("a.zip", lambda content: _packed_zip(content)),  # noqa: PLW0108 - made below
    "tar.gz": ("a.tar.gz", lambda content: _packed_tar(content, "gz")),
    "tar.xz": ("a.tar", lambda content: _packed_tar(content, "xz")),
}


def _packed_zip(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ratings.csv", content)
    return buffer.getvalue()


def _packed_tar(content: bytes, kind: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{kind}") as archive:
        info = tarfile.TarInfo("ratings.csv")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content", [bytes(4 << 20), b"user,item,time\n" + b"u,i,1\n" * (1 << 20)], ids=["one line", "many lines"]
)
@pytest.mark.parametrize(("name", "pack"), BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_refused_once_it_is_too_much(
    name: str, pack: Callable[[bytes], bytes], content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "ALWAYS", 1 << 20)
    (tmp_path / name).write_bytes(pack(content))
    with pytest.raises(DataError, match=r"unpacks into more than \d,\d+,\d+ bytes"):
        read(tmp_path / name)
    with pytest.raises(DataError), open_member(tmp_path / name, ["ratings.csv"]) as (_, file):
        file.read()


def test_bombs_in_the_files_of_a_run_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "ALWAYS", 1 << 20)
    (tmp_path / "ranks.csv.gz").write_bytes(gzip.compress(b"sequence,target,rank\n" + b"a,b,1\n" * (1 << 20)))
    with pytest.raises(DataError, match=r"unpacks into more than"):
        load_ranks(tmp_path)
    (tmp_path / "items.csv.gz").write_bytes(gzip.compress(b"id,item\n" + b"1,a\n" * (1 << 20)))
    with pytest.raises(DataError, match=r"unpacks into more than"):
        Vocabulary.load(tmp_path / "items.csv.gz")


JSON: dict[str, str] = {
    "deep lists": "[" * 100_000,
    "deep tables": '{"a":' * 100_000,
    "a number of 5,000 digits": '{"a": ' + "9" * 5000 + "}",
    "NaN": '{"a": NaN}',
    "Infinity": '{"a": -Infinity}',
    "two values": "{} {}",
    "a comment": "{} // a",
    "single quotes": "{'a': 1}",
    "a control character": '{"a": "\0"}',
    "nothing": "",
}


@pytest.mark.parametrize("text", JSON.values(), ids=JSON.keys())
def test_json_that_is_none_is_refused_by_every_reader(text: str, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r".") as refused:
        parse_json(text)
    assert len(str(refused.value)) < 300
    with pytest.raises(ArchitectureError):
        Architecture.load(file)
    assert load_record(file) is None


def test_json_of_any_encoding_or_size_is_read_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_document(file, "x", 1) == {"a": 1}
    for content in (b'{"a": "\xff"}', '{"a": 1}'.encode("utf-16"), b" " * (17 << 20), b"[1]", b"1", b'{"schema": 7}'):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"."):
            read_document(file, "x", 1)


HEAD = '"schema": "recbole-nasr/architecture", "schema_version": 1'
LAYER = '"tcn_d1_2"'
ARCHITECTURES = {
    "a million layers": f'{{{HEAD}, "blocks": [[{",".join([LAYER] * 70_000)}]]}}',
    "a thousand and twenty-five layers": f'{{{HEAD}, "blocks": [[{",".join([LAYER] * 1025)}]]}}',
    "a number as operation": f'{{{HEAD}, "blocks": [[1]]}}',
    "a table as block": f'{{{HEAD}, "blocks": [{{}}]}}',
    "no blocks": f"{{{HEAD}}}",
    "an empty block": f'{{{HEAD}, "blocks": [[]]}}',
    "an operation nobody knows": f'{{{HEAD}, "blocks": [["__import__(\\"os\\")"]]}}',
    "a size nobody has": f'{{{HEAD}, "blocks": [["tcn_d1_{"9" * 5000}"]]}}',
    "too large": " " * ((1 << 20) + 1),
    "a version that is text": f'{{{HEAD.replace("1", chr(34) + "1" + chr(34))}, "blocks": [[{LAYER}]]}}',
    "a version that is huge": f'{{{HEAD.replace("1", "9" * 4000)}, "blocks": [[{LAYER}]]}}',
}


@pytest.mark.parametrize("text", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def test_an_absurd_architecture_is_refused_in_one_short_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ArchitectureError) as refused:
        Architecture.load(tmp_path / "a.json")
    assert len(str(refused.value)) < 6000
    assert "\n" not in str(refused.value)


class Trace:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (Path("trace"),)


ARRAYS: dict[str, Callable[[], np.ndarray]] = {
    "objects that run something": lambda: np.array([Trace()] * 200, dtype=object),
    "numbers of another kind": lambda: np.ones(200, dtype=np.float64),
    "a matrix": lambda: np.ones((200, 1), dtype=np.int32),
    "one number": lambda: np.array(1, dtype=np.int32),
    "codes beyond the names": lambda: np.full(200, 10**6, dtype=np.int32),
    "negative codes": lambda: np.full(200, -1, dtype=np.int32),
    "fewer than the lengths say": lambda: np.ones(100, dtype=np.int32),
}


@pytest.mark.parametrize("make", ARRAYS.values(), ids=ARRAYS.keys())
def test_a_prepared_array_is_a_row_of_codes_with_names_or_is_refused(
    make: Callable[[], np.ndarray], tmp_path: Path
) -> None:
    shutil.copytree(next((KEPT / "data").iterdir()), tmp_path / "mine")
    np.save(tmp_path / "mine" / "compact" / "item.npy", make(), allow_pickle=True)
    with pytest.raises(DataError, match=r"delete .* to prepare again"):
        load_compact(tmp_path / "mine")
    assert not Path("trace").exists()


def test_an_array_whose_head_promises_more_than_the_file_has_is_refused(tmp_path: Path) -> None:
    shutil.copytree(next((KEPT / "data").iterdir()), tmp_path / "mine")
    file = tmp_path / "mine" / "compact" / "item.npy"
    file.write_bytes(file.read_bytes().replace(b"(200,), }         ", b"(2000000000000,), }"[:18].ljust(18)))
    with pytest.raises(DataError, match=r"delete .* to prepare again"):
        load_compact(tmp_path / "mine")


def with_settings(folder: Path, **changes: Any) -> Path:
    """Copy the kept run and change settings in its checkpoint."""
    shutil.copytree(RUN, folder, dirs_exist_ok=True)
    saved = load_checkpoint(folder / "model.pth")
    saved["config"].final_config_dict.update(changes)
    torch.save(saved, folder / "model.pth", pickle_protocol=4)
    return folder


def laughs(depth: int = 40) -> list[Any]:
    value: list[Any] = ["ha"]
    for _ in range(depth):
        value = [value, value]
    return value


def ring() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


SETTINGS: dict[str, dict[str, Any]] = {
    "a model with a path": {"model": "../../NASR"},
    "a data set with a path": {"dataset": "../../../tmp/mine"},
    "a hidden data set": {"dataset": ".ssh"},
    "a model that is no text": {"model": 7},
    "a model that does not exist": {"model": "Nothing"},
    "a network of any width": {"hidden_size": 2**40},
    "a network of a width that is text": {"hidden_size": "8"},
    "histories of any length": {"MAX_ITEM_LIST_LENGTH": 10**12},
    "histories of no length": {"MAX_ITEM_LIST_LENGTH": None},
    "many layers": {"architecture": [["tcn_d1_2"] * 1025]},
    "an architecture that is a number": {"architecture": 7},
    "a kernel of any size": {"architecture": [["depthwise_k99999999"]]},
    "a billion laughs": {"metrics": laughs()},
    "a value inside itself": {"metrics": ring()},
    "a field that is no text": {"ITEM_ID_FIELD": 3},
    "a place that is no text": {"data_path": None},
}


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS.keys())
def test_a_checkpoint_with_absurd_settings_is_refused_before_memory_is_taken(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    folder = with_settings(tmp_path / "run", **changes)
    with pytest.raises(NASRError) as refused:
        load_run(folder, "cpu")
    assert len(str(refused.value)) < 2000
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_checkpoint_that_only_says_where_to_write_is_read_and_writes_nothing(tmp_path: Path) -> None:
    folder = with_settings(tmp_path / "run", save_dataset=True, save_dataloaders=True, checkpoint_dir="elsewhere")
    config = load_run(folder, "cpu").config
    assert not config["save_dataset"]
    assert not config["save_dataloaders"]


def test_a_checkpoint_cannot_make_data_be_downloaded_or_prepared_elsewhere(tmp_path: Path) -> None:
    place = str(tmp_path.parent / "elsewhere")
    for changes in ({"dataset": "ml-1m", "data_path": place, "source": None}, {"data_path": place}):
        config = load_checkpoint(with_settings(tmp_path / "run", **changes) / "model.pth")["config"]
        with pytest.raises(DataError, match="there is no folder"):
            load_data(config)
    assert not Path(place).exists()


def test_weights_that_are_no_tensors_or_missing_are_refused(tmp_path: Path) -> None:
    shutil.copytree(RUN, tmp_path / "run")
    saved = load_checkpoint(RUN / "model.pth")
    for weights in (
        None,
        [],
        {"a": 1},
        {},
        {name: value.reshape(-1)[:0] for name, value in saved["state_dict"].items()},
    ):
        torch.save({**saved, "state_dict": weights}, tmp_path / "run" / "model.pth", pickle_protocol=4)
        with pytest.raises(CheckpointError):
            load_run(tmp_path / "run", "cpu")


def test_what_a_run_says_about_itself_cannot_break_or_steer_the_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contents: list[Any] = [[], 1, "a", {"test": 1}, {"test": {"ndcg@10": "x"}}, {"test": [], "n_parameters": "many"}]
    for number, content in enumerate(contents):
        folder = tmp_path / "runs" / "mine" / str(number)
        folder.mkdir(parents=True)
        for name in ("run.json", "metrics.json"):
            (folder / name).write_text(json.dumps(content))
    (folder / "run.json").write_text(json.dumps({"model": "\x1b]0;owned\x07", "status": ["x"], "seed": {"a": 1}}))
    assert f"mine ({len(contents)} runs)" in runs_text(tmp_path / "runs")
    assert main(["--list", f"--runs_dir={tmp_path / 'runs'}"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_the_kept_run_itself_is_read() -> None:
    # Otherwise the refusals above might have another reason.
    assert load(RUN, device="cpu").recommend([["i0"]], k=2).shape == (2, 4)

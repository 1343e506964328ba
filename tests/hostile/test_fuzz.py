"""Every reader gets random and damaged files: it returns something, or raises one of our own errors."""

from __future__ import annotations

import contextlib
import gzip
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_nasr.checkpoints.reading import load_cache, load_checkpoint
from recbole_nasr.configuration.files import read_settings
from recbole_nasr.data.compact import load_compact
from recbole_nasr.data.raw import Reading, read_raw
from recbole_nasr.data.report import load_report
from recbole_nasr.data.vocabulary import Vocabulary
from recbole_nasr.errors import NASRError
from recbole_nasr.runs.results import load_ranks
from recbole_nasr.serving.files import HistoryFile
from recbole_nasr.serving.saved import find_run, load_run
from recbole_nasr.serving.tables import comparison_text, runs_text
from recbole_nasr.space import Architecture
from recbole_nasr.studies.record import load_record

KEPT = Path(__file__).parents[1] / "compatibility" / "v1"
RUN, OTHER = (KEPT / "runs" / "mine" / name for name in ("NASR-network", "NASRSearch-search"))
(PREPARED,) = (KEPT / "data").iterdir()
CSV = b"user,item,time\n" + b"".join(b"u%d,i%d,%d\n" % (n // 4, n % 7, n) for n in range(40))


def read_raw_file(path: Path) -> Any:
    return read_raw(path, ("*.csv", "*.inter"), Reading({"separator": None}, "auto", "id_or_name", 0))


def read_histories(path: Path) -> Any:
    return list(HistoryFile(path, {}).pieces())


def read_cache(path: Path) -> Any:
    with path.open("rb") as file:
        return load_cache(file)


def with_file(read: Callable[[Path], Any], *others: Path) -> Callable[[Path], Any]:
    """Return a reader of the folder that the file is in, beside copies of ``others``."""

    def read_folder(path: Path) -> Any:
        for other in others:
            if other.name != path.name:
                (path.parent / other.name).write_bytes(other.read_bytes())
        return read(path.parent)

    return read_folder


def in_gzip(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """Return a reader of the file once it is packed."""

    def read_packed(path: Path) -> Any:
        whole = path.with_name("ranks.csv.gz")
        whole.write_bytes(gzip.compress(path.read_bytes()))
        return read(whole)

    return read_packed


def read_ranks(path: Path) -> Any:
    return load_ranks(path.parent)


def in_array_folder(path: Path) -> Any:
    place = path.parent / "compact"
    place.mkdir(exist_ok=True)
    for other in (PREPARED / "compact").iterdir():
        (place / other.name).write_bytes((path if other.name == path.name else other).read_bytes())
    return load_compact(path.parent)


def compared(folder: Path) -> Any:
    return comparison_text([str(folder), str(OTHER)])


def listed(folder: Path) -> Any:
    return runs_text(folder.parent.parent)


def packed(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("ml/ratings.csv", CSV)
    else:
        with tarfile.open(fileobj=buffer, mode=f"w:{kind}") as tar:
            info = tarfile.TarInfo("ml/ratings.csv")
            info.size = len(CSV)
            tar.addfile(info, io.BytesIO(CSV))
    return buffer.getvalue()


def parquet() -> bytes:
    pytest.importorskip("pyarrow")
    return pd.read_csv(io.BytesIO(CSV)).to_parquet()


CACHE = {"a": np.arange(4), "table": pd.DataFrame({"x": [1, 2], "y": ["a", "b"]}), "names": ["[PAD]", "i1"] * 9}
IN_RUN = [RUN / name for name in ("run.json", "metrics.json", "ranks.csv.gz", "items.csv.gz", "model.pth")]

LOAD_RUN = with_file(load_run, *IN_RUN)
SLOW = (LOAD_RUN, load_checkpoint)

READERS: dict[str, tuple[str, Callable[[], bytes], Callable[[Path], Any]]] = {
    "checkpoint": ("model.pth", (RUN / "model.pth").read_bytes, load_checkpoint),
    "run with its weights": ("model.pth", (RUN / "model.pth").read_bytes, LOAD_RUN),
    "items of a run": ("items.csv.gz", (RUN / "items.csv.gz").read_bytes, Vocabulary.load),
    "items, packed again": (
        "i.csv",
        lambda: gzip.decompress((RUN / "items.csv.gz").read_bytes()),
        in_gzip(Vocabulary.load),
    ),
    "ranks, packed again": ("r.csv", lambda: gzip.decompress((RUN / "ranks.csv.gz").read_bytes()), in_gzip(read_ranks)),
    "cache": ("cache.pth", lambda: pickle.dumps(CACHE, protocol=4), read_cache),
    "architecture": ("a.json", (RUN / "architecture.json").read_bytes, Architecture.load),
    "settings": ("settings.yaml", (RUN / "settings.yaml").read_bytes, read_settings),
    "all settings": ("config.yaml", (RUN / "config.yaml").read_bytes, read_settings),
    "run.json": ("run.json", (RUN / "run.json").read_bytes, with_file(find_run, *IN_RUN)),
    "run.json in a list": ("runs/mine/a/run.json", (RUN / "run.json").read_bytes, with_file(listed)),
    "metrics in a list": ("runs/mine/a/metrics.json", (RUN / "metrics.json").read_bytes, with_file(listed, *IN_RUN)),
    "metrics compared": ("metrics.json", (RUN / "metrics.json").read_bytes, with_file(compared, *IN_RUN)),
    "ranks": ("ranks.csv.gz", (RUN / "ranks.csv.gz").read_bytes, with_file(load_ranks)),
    "result record": ("a.json", next((KEPT / "results").iterdir()).read_bytes, load_record),
    "data report": ("report.json", (PREPARED / "report.json").read_bytes, with_file(load_report)),
    "prepared items": ("item.npy", (PREPARED / "compact/item.npy").read_bytes, in_array_folder),
    "prepared lengths": ("length.npy", (PREPARED / "compact/length.npy").read_bytes, in_array_folder),
    "prepared names": ("sequences.txt", (PREPARED / "compact/sequences.txt").read_bytes, in_array_folder),
    "histories": ("a.csv", lambda: CSV, read_histories),
    "histories in Parquet": ("a.parquet", parquet, read_histories),
    "source": ("ratings.csv", lambda: CSV, read_raw_file),
    "source in gzip": ("ratings.csv.gz", lambda: gzip.compress(CSV), read_raw_file),
    "source in zip": ("ml.zip", lambda: packed("zip"), read_raw_file),
    "source in tar.gz": ("ml.tar.gz", lambda: packed("gz"), read_raw_file),
    "source in tar.xz": ("ml.tar", lambda: packed("xz"), read_raw_file),
    "source in Parquet": ("a.parquet", parquet, read_raw_file),
}


@st.composite
def damaged(draw: st.DrawFn, valid: bytes) -> bytes:
    """Draw anything, or a valid file that is cut, has bits flipped, or a piece of it elsewhere."""
    kind = draw(st.sampled_from(["random", "cut", "flip", "splice", "insert", "zero"]))
    place = draw(st.integers(0, len(valid)))
    if kind == "random":
        return draw(st.binary(max_size=200))
    if kind == "cut":
        return valid[:place]
    if kind == "insert":
        return valid[:place] + draw(st.binary(min_size=1, max_size=20)) + valid[place:]
    if kind == "zero":
        return valid[:place] + bytes(min(16, len(valid) - place)) + valid[place + 16 :]
    if kind == "splice":
        start, size = draw(st.integers(0, len(valid))), draw(st.integers(1, 64))
        return valid[:place] + valid[start : start + size] + valid[place + size :]
    changed = bytearray(valid)
    for _ in range(draw(st.integers(1, 8))):
        changed[draw(st.integers(0, len(valid) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(changed)


@pytest.mark.filterwarnings("ignore")  # of pandas and NumPy, about what is in the files
@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
def test_a_reader_returns_or_raises_our_own_error(
    reader: tuple[str, Callable[[], bytes], Callable[[Path], Any]], tmp_path: Path
) -> None:
    name, make, read = reader
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    valid = make()
    file.write_bytes(valid)
    read(file)  # what is not damaged is read

    @settings(max_examples=12 if read in SLOW else 40, derandomize=True)  # the same cases every time
    @given(damaged(valid))
    def attempt(content: bytes) -> None:
        file.unlink()  # arrays of the last attempt may still be mapped
        file.write_bytes(content)
        with contextlib.suppress(NASRError):
            read(file)

    attempt()

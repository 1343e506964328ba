"""Attacks on the pickles that RecBole writes: checkpoints and data caches."""

from __future__ import annotations

import copyreg
import io
import pickle
import sys
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.config import Config
from recbole.model.sequential_recommender import SASRec
from recbole.utils import ModelType
from scipy import sparse

from recbole_nasr.checkpoints.reading import load_cache, load_checkpoint
from recbole_nasr.errors import CheckpointError

INT_MINUS_1 = pickle.BININT + b"\xff" * 4


def text(value: str) -> bytes:
    return pickle.BINUNICODE + len(value.encode()).to_bytes(4, "little") + value.encode()


def named(module: str, name: str) -> bytes:
    """Write a name in the form of protocol 4: two strings on the stack."""
    return text(module) + text(name) + pickle.STACK_GLOBAL


def called(function: bytes, *arguments: bytes) -> bytes:
    return function + pickle.MARK + b"".join(arguments) + pickle.TUPLE + pickle.REDUCE


def table(*entries: bytes) -> bytes:
    return pickle.EMPTY_DICT + pickle.MARK + b"".join(entries) + pickle.SETITEMS


def built(target: bytes, state: bytes) -> bytes:
    return target + state + pickle.BUILD


def whole(content: bytes) -> bytes:
    return pickle.PROTO + b"\x04" + content + pickle.STOP


def number(value: int) -> bytes:
    return pickle.BININT + value.to_bytes(4, "little", signed=True)


def dtype(name: str, flags: int) -> bytes:
    """Write a type of NumPy with flags of our choice."""
    made = called(named("numpy", "dtype"), text(name), pickle.NEWFALSE, pickle.NEWTRUE)
    fields = number(3) + text("|" if name == "O8" else "<") + pickle.NONE * 3 + INT_MINUS_1 * 2 + number(flags)
    return built(made, pickle.MARK + fields + pickle.TUPLE)


CORE = "numpy._core" if hasattr(np, "_core") and "numpy._core.multiarray" in sys.modules else "numpy.core"
BYTES = pickle.SHORT_BINBYTES + b"\x08" + b"A" * 8


def array(name: str, size: int, content: bytes = b"A" * 8) -> bytes:
    frombuffer = named(f"{CORE}.numeric", "_frombuffer")
    read = pickle.SHORT_BINBYTES + bytes([len(content)]) + content
    return called(frombuffer, read, dtype(name, 0), number(size) + pickle.TUPLE1, text("C"))


POINTERS = dtype("O8", 0)
ATTRIBUTES = table(text("__init__"), named("builtins", "list"))
MODEL = named("recbole.model.sequential_recommender.sasrec", "SASRec") + pickle.EMPTY_TUPLE + pickle.NEWOBJ
CONFIG = named("recbole.config.configurator", "Config") + pickle.EMPTY_TUPLE + pickle.NEWOBJ
BAD_MATRIX = table(
    *(text("_shape"), number(2) + number(2) + pickle.TUPLE2),
    *(text("indices"), array("i4", 1, b"A" * 4)),
    *(text("indptr"), array("i2", 3, b"\0\0\0\0\1\0")),
    *(text("data"), array("f8", 1)),
)

ATTACKS: dict[str, bytes] = {
    # Bytes of the file taken for addresses of objects: whoever chooses them reads and writes where he likes.
    "a type of NumPy that takes bytes for pointers": POINTERS,
    "an array of such pointers": called(
        named(f"{CORE}.numeric", "_frombuffer"), BYTES, POINTERS, number(1) + pickle.TUPLE1, text("C")
    ),
    "an array of objects from bytes": called(named("numpy", "ndarray"), number(1) + pickle.TUPLE1, text("O"), BYTES),
    "a record of pointers, from bytes": called(
        named(f"{CORE}.multiarray", "scalar"), called(named("numpy", "dtype"), text("O,O")), BYTES * 2
    ),
    "an array of pointers in an array of NumPy": called(
        named(f"{CORE}.multiarray", "scalar"),
        called(named("numpy", "dtype"), text("O") + number(1) + pickle.TUPLE1 + pickle.TUPLE2),
        BYTES,
    ),
    "a type that is larger than it is": dtype("f8", 0).replace(INT_MINUS_1 * 2, number(10**6) + INT_MINUS_1),
    "a sparse matrix that points outside": built(
        named("scipy.sparse._csr", "csr_matrix") + pickle.EMPTY_TUPLE + pickle.NEWOBJ, BAD_MATRIX
    ),
    # BUILD sets attributes of whatever it is given.
    "another method for a class of Python": built(
        named("collections", "Counter"), pickle.NONE + ATTRIBUTES + pickle.TUPLE2
    ),
    "another method for a table of pandas": built(
        named("pandas.core.frame", "DataFrame"), pickle.NONE + ATTRIBUTES + pickle.TUPLE2
    ),
    "another member for an enumeration": built(
        named("recbole.utils.enum_type", "ModelType"), pickle.NONE + ATTRIBUTES + pickle.TUPLE2
    ),
    "a method of an enumeration in place of a member": called(
        named("builtins", "getattr"), named("recbole.utils.enum_type", "ModelType"), text("mro")
    ),
    "another default for a function": built(
        named("torch._utils", "_rebuild_tensor_v2"),
        pickle.NONE + table(text("__defaults__"), pickle.NONE) + pickle.TUPLE2,
    ),
    "a method of an object that is replaced by a class": built(
        CONFIG, table(text("_get_final_config_dict"), named("builtins", "list"))
    ),
    # Calls of what is no function.
    "a network that is called": called(built(MODEL, table(text("forward"), named("builtins", "list"))), number(1)),
    "memory that is asked for": called(named("torch", "FloatStorage"), number(2**30)),
    "a codec": called(named("_codecs", "encode"), text("x"), text("zlib")),
    "entries for an object": CONFIG + text("seed") + number(1) + pickle.SETITEM,
    "additions to an object": MODEL + pickle.MARK + number(1) + pickle.APPENDS,
    # Other ways to name something.
    "a name of protocol 0": pickle.INST + b"os\nsystem\n",
    "a name with a path": named("recbole./tmp/evil", "Model"),
    "a name with dots on both sides": named("recbole.utils.utils", "os.path.join"),
    "a registered number": pickle.EXT1 + b"\x01",
    "a persistent number": text("file:///etc/passwd") + pickle.BINPERSID,
    "an out-of-band buffer": pickle.NEXT_BUFFER,
    # Sizes.
    "a string longer than the file": pickle.BINUNICODE8 + (2**40).to_bytes(8, "little"),
    "bytes longer than any memory": pickle.BINBYTES8 + (2**62).to_bytes(8, "little"),
    "a frame longer than any memory": pickle.FRAME + (2**62).to_bytes(8, "little"),
    "an array larger than any memory": called(
        named("numpy", "ndarray"), number(2**31 - 1) * 3 + pickle.TUPLE3, text("f8")
    ),
    "a number that is text of a million digits": called(named("builtins", "int"), text("9" * 10**6)),
    "a place in the memo that is not there": pickle.BINGET + b"\x07",
    "a stack that is empty": pickle.POP * 5,
    "a hash of what has none": table(pickle.EMPTY_LIST, number(1)),
}


def write_checkpoint(path: Path, data: bytes) -> Path:
    """Write what torch.save would write, with this pickle inside."""
    with torch.serialization._open_zipfile_writer(str(path)) as archive:
        archive.write_record("data.pkl", data, len(data))
        archive.write_record("byteorder", sys.byteorder, len(sys.byteorder))
    return path


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_an_attack_through_a_cache_or_a_checkpoint_is_refused(
    attack: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(copyreg._inverted_registry, 1, ("os", "system"))
    monkeypatch.setitem(copyreg._extension_cache, 1, eval)
    before = Counter.__init__, pd.DataFrame.__init__, ModelType.SEQUENTIAL
    with pytest.raises(CheckpointError):
        load_cache(io.BytesIO(whole(attack)))
    file = write_checkpoint(tmp_path / "hostile.pth", whole(table(text("state_dict"), attack)))
    with pytest.raises(CheckpointError, match=r"hostile\.pth|which no value needs|which is no value"):
        load_checkpoint(file)
    assert before == (Counter.__init__, pd.DataFrame.__init__, ModelType.SEQUENTIAL)
    assert [path.name for path in tmp_path.iterdir()] == ["hostile.pth"]


def test_the_pieces_of_the_attacks_are_read_where_they_are_harmless() -> None:
    # Otherwise the refusals above might only show that the pieces are put together wrongly.
    def load(content: bytes) -> Any:
        return load_cache(io.BytesIO(whole(content)))

    one = number(1) + pickle.TUPLE1
    assert load(dtype("O8", 63)) == np.dtype(object)
    assert load(called(named(f"{CORE}.numeric", "_frombuffer"), BYTES, dtype("f8", 0), one, text("C"))).shape == (1,)
    assert type(load(CONFIG)) is Config
    assert type(load(MODEL)) is SASRec
    assert load(called(named("_codecs", "encode"), text("x"), text("latin1"))) == b"x"
    assert load(called(named("builtins", "int"), text("9"))) == 9
    # How early releases of Python 3.11 write a member of an enumeration; the others call the class with its value.
    kind = named("recbole.utils.enum_type", "ModelType")
    for module in ("builtins", "__builtin__"):
        assert load(called(named(module, "getattr"), kind, text("SEQUENTIAL"))) is ModelType.SEQUENTIAL
    assert load(called(kind, number(ModelType.SEQUENTIAL.value))) is ModelType.SEQUENTIAL
    assert load(table(text("a"), number(1))) == {"a": 1}


def test_every_kind_of_value_that_recbole_caches_survives() -> None:
    kept = {
        "numbers": np.arange(3),
        "names": np.array(["[PAD]", "318"]),
        "objects": np.array([None, "a"], dtype=object),
        "other order": np.array(3, dtype=">i4"),
        "times": np.array(["2026-11-24"], dtype="datetime64[ns]"),
        "spans": np.array([1], dtype="timedelta64[s]"),
        "bytes": np.array([b"ab"]),
        "flags": np.array([True]),
        "matrices": [sparse.csr_matrix(np.eye(3)), sparse.coo_matrix(np.eye(2))],
        "table": pd.DataFrame({"user_id": [1, 2], "name": ["a", "b"], "time": [0.5, 1.5]}),
        "counts": Counter("aab"),
        "ordered": OrderedDict(b=1, a=2),
    }
    for protocol in (4, 5):
        sent = pickle.dumps(kept, protocol=protocol)
        loaded = load_cache(io.BytesIO(sent))
        assert loaded.keys() == kept.keys()
        for name, value in kept.items():
            assert str(loaded[name]) == str(value), name
            # As the open pickle gives it: NumPy itself turns the order of bytes into that of the machine.
            assert getattr(loaded[name], "dtype", None) == getattr(pickle.loads(sent)[name], "dtype", None)  # noqa: S301


def zipped(path: Path, records: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return path


def test_a_checkpoint_with_a_damaged_list_of_records_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "a.pth")
    content = (tmp_path / "a.pth").read_bytes()
    place = content.index(b"PK\x01\x02")
    (tmp_path / "a.pth").write_bytes(content[:place] + b"PK\x09\x09" + content[place + 4 :])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(tmp_path / "a.pth")


def test_a_checkpoint_that_unpacks_into_far_more_is_refused_before_it_is_read(tmp_path: Path) -> None:
    bomb = {"a/data.pkl": bytes(1 << 22), "a/version": b"3"}
    with pytest.raises(CheckpointError, match="compressed"):
        load_checkpoint(zipped(tmp_path / "bomb.pth", bomb, zipfile.ZIP_DEFLATED))


def test_tensors_of_absurd_shapes_ask_for_no_memory(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(4)}, tmp_path / "a.pth", pickle_protocol=2)
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        records = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
    content = records["data.pkl"]
    large = b"J" + (2**31 - 1).to_bytes(4, "little")
    storage, shape = (
        content.replace(b"K\x04t", large + b"t"),
        content.replace(b"K\x00K\x04\x85", b"K\x00" + large + b"\x85"),
    )
    assert content not in (storage, shape)
    for changed in (storage, shape):
        with torch.serialization._open_zipfile_writer(str(tmp_path / "b.pth")) as archive:
            for name, data in {**records, "data.pkl": changed}.items():
                if not name.startswith(".data"):
                    archive.write_record(name, data, len(data))
        with pytest.raises(CheckpointError, match="damaged or incomplete"):
            load_checkpoint(tmp_path / "b.pth")

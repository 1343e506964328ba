"""A checkpoint is read back whole, and can never make anything run."""

from __future__ import annotations

import io
import pickle
import re
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data.dataloader import TrainDataLoader
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from recbole.utils import ModelType

from recbole_nasr.checkpoints.reading import load_checkpoint, restricted_loading
from recbole_nasr.checkpoints.unpickling import RestrictedUnpickler
from recbole_nasr.errors import CheckpointError
from recbole_nasr.quick_start import load_data_and_model, run_recbole

SASREC = {
    "train_neg_sample_args": None,
    "epochs": 1,
    "n_layers": 1,
    "hidden_size": 8,
    "inner_size": 8,
    "show_progress": False,
    "state": "ERROR",
    "topk": [2],
    "metrics": ["NDCG"],
    "valid_metric": "NDCG@2",
}


class Call:
    """Pickles to the call of a function that is found by module and name, in the global or the stack form."""

    def __init__(self, module: str, name: str, *arguments: Any) -> None:
        self.module, self.name, self.arguments = module, name, arguments

    def pickled(self, protocol: int) -> bytes:
        def text(value: str) -> bytes:
            return pickle.BINUNICODE + len(value.encode()).to_bytes(4, "little") + value.encode()

        if protocol >= 4:
            function = text(self.module) + text(self.name) + pickle.STACK_GLOBAL
        else:
            function = pickle.GLOBAL + f"{self.module}\n{self.name}\n".encode()
        arguments = b"".join(text(argument) for argument in self.arguments)
        return (
            pickle.PROTO
            + bytes([protocol])
            + (pickle.EMPTY_DICT + text("config") + function)
            + (pickle.MARK + arguments + pickle.TUPLE + pickle.REDUCE)
            + (pickle.SETITEM + pickle.STOP)
        )


def write_archive(path: Path, data: bytes) -> Path:
    """Write what torch.save would write, with this pickle inside."""
    with torch.serialization._open_zipfile_writer(str(path)) as archive:
        archive.write_record("data.pkl", data, len(data))
        archive.write_record("byteorder", sys.byteorder, len(sys.byteorder))
    return path


@pytest.fixture
def sasrec_checkpoint(toy: Path) -> tuple[Path, dict[str, Any]]:
    result = run_recbole("SASRec", "toy", config_dict={**SASREC, "data_path": str(toy)})
    [file] = Path("saved").glob("SASRec-*.pth")
    return file.resolve(), result


def test_a_checkpoint_that_recbole_wrote_reads_back_whole(
    sasrec_checkpoint: tuple[Path, dict[str, Any]],
) -> None:
    file, result = sasrec_checkpoint
    checkpoint = load_checkpoint(file)
    assert set(checkpoint) == {
        "config",
        "epoch",
        "cur_step",
        "best_valid_score",
        "state_dict",
        "other_parameter",
        "optimizer",
    }
    config = checkpoint["config"]
    assert type(config) is Config
    assert config.model_class is SASRec
    assert config["MODEL_TYPE"] is ModelType.SEQUENTIAL
    assert config["device"] == torch.device("cpu")
    assert checkpoint["best_valid_score"] == result["best_valid_score"]
    # The same as the open pickle gives: the restriction takes nothing away.
    whole = torch.load(file, weights_only=False)
    assert vars(config) == vars(whole["config"])
    assert list(checkpoint["state_dict"]) == list(whole["state_dict"])
    for name, value in whole["state_dict"].items():
        torch.testing.assert_close(checkpoint["state_dict"][name], value, rtol=0, atol=0)


def test_a_loaded_model_gives_the_test_metrics_of_the_run_that_wrote_it(
    sasrec_checkpoint: tuple[Path, dict[str, Any]],
) -> None:
    file, result = sasrec_checkpoint
    config, model, _, _, _, test_data = load_data_and_model(str(file))
    trainer = Trainer(config, model)
    assert trainer.evaluate(test_data, load_best_model=True, model_file=str(file)) == result["test_result"]
    trainer.resume_checkpoint(str(file))
    assert trainer.start_epoch == 1


def test_loading_in_recboles_functions_leaves_torch_load_as_it_was(
    sasrec_checkpoint: tuple[Path, dict[str, Any]],
) -> None:
    file, _ = sasrec_checkpoint
    before = torch.load
    load_data_and_model(str(file))
    assert torch.load is before
    with pytest.raises(CheckpointError), restricted_loading():
        torch.load("absent.pth")
    assert torch.load is before


HOSTILE = {
    "the command itself": ("os", "system"),
    "the module it is defined in": ("posix", "system"),
    "a dotted name through a module of recbole": ("recbole.utils.utils", "os.system"),
    "a dotted name through a class of recbole": ("recbole.config.configurator", "Config.__init__"),
    "a function of recbole that is imported there": ("recbole.config.configurator", "os"),
    "a class of recbole that evaluates what it is given": ("recbole.config.configurator", "Config"),
    "a class of recbole with side effects": ("recbole.model.sequential_recommender.sasrec", "SASRec"),
    "a function of recbole": ("recbole.utils.utils", "ensure_dir"),
    "a function of this package": ("recbole_nasr.checkpoints.reading", "load_checkpoint"),
    "something beside the enumerations": ("recbole.utils.enum_type", "Enum"),
    "the built-in evaluation": ("builtins", "eval"),
    "the built-in attribute look-up": ("builtins", "getattr"),
    "a function of torch": ("torch", "load"),
    "a name that ends like a storage": ("torch", "nonexistentStorage"),
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("target", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_checkpoint_is_refused_and_nothing_runs(
    target: tuple[str, str], protocol: int, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    data = Call(*target, f"mkdir {trace}").pickled(protocol)
    file = write_archive(tmp_path / "hostile.pth", data)
    with pytest.raises(CheckpointError) as refused:
        load_checkpoint(file)
    assert not trace.exists()
    assert not (tmp_path / f"mkdir {trace}").exists()
    assert str(file) in str(refused.value) or ".".join(target) in str(refused.value)


def test_the_test_above_would_notice_a_command_that_runs(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with io.BytesIO(Call("os", "system", f"mkdir {trace}").pickled(4)) as opened:
        pickle.load(opened)  # noqa: S301  (our own bytes)
    assert trace.exists()


def test_a_harmless_call_in_the_same_archive_is_read(tmp_path: Path) -> None:
    file = write_archive(tmp_path / "harmless.pth", Call("collections", "OrderedDict").pickled(4))
    with pytest.raises(CheckpointError, match="OrderedDict"):  # it is no Config
        load_checkpoint(file)
    data = Call("torch", "device", "cpu").pickled(4).replace(b"config", b"device")
    assert load_checkpoint(write_archive(tmp_path / "device.pth", data)) == {"device": torch.device("cpu")}


def test_the_refusal_names_the_object(tmp_path: Path) -> None:
    file = write_archive(tmp_path / "hostile.pth", Call("os", "system", "true").pickled(4))
    with pytest.raises(CheckpointError, match=r"os\.system"):
        load_checkpoint(file)


def test_recboles_own_functions_refuse_it_too(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    file = write_archive(tmp_path / "hostile.pth", Call("os", "system", f"mkdir {trace}").pickled(4))
    with pytest.raises(CheckpointError):
        load_data_and_model(str(file))
    assert not trace.exists()


def pickled(*operations: bytes) -> bytes:
    return pickle.PROTO + b"\x02" + b"".join(operations) + pickle.STOP


def named(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


CONFIG = named("recbole.config.configurator", "Config") + pickle.EMPTY_TUPLE + pickle.NEWOBJ
SASREC_CLASS = named("recbole.model.sequential_recommender.sasrec", "SASRec")


def unpickle(data: bytes) -> Any:
    return RestrictedUnpickler(io.BytesIO(data)).load()


def text(value: str) -> bytes:
    return pickle.SHORT_BINUNICODE + bytes([len(value)]) + value.encode()


def test_making_an_object_of_recbole_runs_no_constructor(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_args: Any, **_kwargs: Any) -> None:
        pytest.fail("a constructor ran on what a file says")

    for made in (Config, SASRec):
        monkeypatch.setattr(made, "__init__", run)
    arguments = pickle.MARK + text("SASRec") + pickle.TUPLE
    for data in (CONFIG, CONFIG.replace(pickle.NEWOBJ, pickle.REDUCE), SASREC_CLASS + arguments + pickle.REDUCE):
        assert type(unpickle(pickled(data))) in (Config, SASRec)


def test_a_class_name_cannot_be_rewritten_into_another() -> None:
    # BUILD with a pair as state sets attributes on whatever it is given, here on the class that was named.
    changes = pickle.EMPTY_DICT + text("__name__") + text("Popen") + pickle.SETITEM
    rewritten = SASREC_CLASS + pickle.NONE + changes + pickle.TUPLE2 + pickle.BUILD
    with pytest.raises(CheckpointError, match=r"changes .*StandIn"):
        unpickle(pickled(CONFIG, pickle.EMPTY_DICT, text("model_class"), rewritten, pickle.SETITEM, pickle.BUILD))
    assert SASRec.__name__ == "SASRec"


def test_a_class_of_recbole_must_be_defined_where_the_file_says() -> None:
    with pytest.raises(CheckpointError, match="ModelType"):
        unpickle(pickled(named("recbole.config.configurator", "ModelType")))


def test_a_method_is_bound_only_to_the_object_that_holds_it() -> None:
    loader = named("recbole.data.dataloader.general_dataloader", "TrainDataLoader") + pickle.EMPTY_TUPLE + pickle.NEWOBJ
    method = named("builtins", "getattr") + pickle.GET + b"0\n" + text("{}") + pickle.TUPLE2 + pickle.REDUCE

    def holding(name: str) -> bytes:
        parts = method.split(text("{}"))
        state = pickle.EMPTY_DICT + text("collate_fn") + parts[0] + text(name) + parts[1] + pickle.SETITEM
        return pickled(loader, pickle.PUT + b"0\n", state, pickle.BUILD)

    made = unpickle(holding("collate_fn"))
    assert made.collate_fn == types.MethodType(TrainDataLoader.collate_fn, made)
    for name in ("__class__", "no_such_name"):
        with pytest.raises(CheckpointError, match=r"builtins\.getattr"):
            unpickle(holding(name))


def test_a_class_of_the_program_is_read_only_if_it_derives_from_recboles(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("my_models")
    monkeypatch.setitem(sys.modules, "my_models", module)
    module.Mine = type("Mine", (SASRec,), {})
    module.Other = type("Other", (), {})
    assert type(unpickle(pickled(named("my_models", "Mine"), pickle.EMPTY_TUPLE, pickle.NEWOBJ))) is module.Mine
    for name in ("my_models.Other", "my_models.sys", "not_imported.Model"):
        with pytest.raises(CheckpointError, match=re.escape(name)):
            unpickle(pickled(named(*name.split("."))))


def test_a_value_that_recbole_would_evaluate_is_refused(sasrec_checkpoint: tuple[Path, dict[str, Any]]) -> None:
    file, _ = sasrec_checkpoint
    checkpoint = load_checkpoint(file)
    checkpoint["config"].final_config_dict["teacher"] = "__import__('os').system"
    torch.save(checkpoint, file, pickle_protocol=4)
    with pytest.raises(CheckpointError, match="teacher must be the name of a network"):
        load_checkpoint(file)


def test_missing_damaged_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no checkpoint file"):
        load_checkpoint(tmp_path / "absent.pth")
    with pytest.raises(CheckpointError, match="There is no checkpoint file"):
        load_checkpoint(tmp_path)
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(CheckpointError, match="not an archive"):
        load_checkpoint(tmp_path / "text.pth")
    torch.save({"state_dict": {"w": torch.zeros(1000)}}, tmp_path / "whole.pth")
    cut = (tmp_path / "whole.pth").read_bytes()[:2000]
    (tmp_path / "cut.pth").write_bytes(cut)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(tmp_path / "cut.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps({"epoch": 1}))
    with pytest.raises(CheckpointError, match="not an archive"):
        load_checkpoint(tmp_path / "old.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="holds a list"):
        load_checkpoint(tmp_path / "list.pth")
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "script.pth")
    with pytest.raises(CheckpointError, match="TorchScript"):
        load_checkpoint(tmp_path / "script.pth")


def test_a_flipped_weight_which_torch_does_not_notice_is_damage(tmp_path: Path) -> None:
    path, weights = tmp_path / "flipped.pth", torch.full((64,), 0.75)
    torch.save({"state_dict": {"weight": weights}}, path, pickle_protocol=4)
    content = bytearray(path.read_bytes())
    content[content.index(weights.numpy().tobytes()) + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"flipped\.pth' is damaged: the checksum of its record data/0"):
        load_checkpoint(path)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_plain_values_and_tensors_of_every_kind_survive(protocol: int, tmp_path: Path) -> None:
    kept = {
        "state_dict": OrderedDict(w=torch.randn(3, 4).T, half=torch.ones(2, dtype=torch.bfloat16), n=torch.tensor(3)),
        "other_parameter": {"p": torch.nn.Parameter(torch.ones(2)), "size": torch.Size([2, 3])},
        "best_valid_score": np.float64(0.25),
        "folder": Path("saved"),
        "nested": [(1, 2.5, None, True), {"a"}, b"bytes", "text"],
    }
    torch.save(kept, tmp_path / "kept.pth", pickle_protocol=protocol)
    loaded = load_checkpoint(tmp_path / "kept.pth")
    assert str(loaded) == str(kept)
    assert loaded["best_valid_score"] == 0.25
    assert isinstance(loaded["other_parameter"]["p"], torch.nn.Parameter)

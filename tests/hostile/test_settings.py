"""Attacks through YAML files and through values that RecBole would run as Python."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recbole
import recbole.model.context_aware_recommender.kd_dagfm as kd_dagfm
import recbole.model.general_recommender.ldiffrec as ldiffrec
from recbole.config import Config
from recbole.trainer import HyperTuning

from recbole_nasr.configuration.files import read_settings
from recbole_nasr.errors import ConfigError, DataError, NASRError
from recbole_nasr.request.arguments import parse_line
from recbole_nasr.request.preflight import check_request
from recbole_nasr.request.request import build_request

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
MERGES = "a0: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 12)
)

YAML: dict[str, bytes] = {
    "a call": b"a: !!python/object/apply:os.system ['touch trace']",
    "a new object": b"a: !!python/object/new:subprocess.Popen [['touch', 'trace']]",
    "an object": b"a: !!python/object:subprocess.Popen {}",
    "a name": b"a: !!python/name:os.system",
    "a name behind another prefix": b"%TAG ! tag:yaml.org,2002:python/\n---\na: !name:os.system",
    "a module": b"a: !!python/module:os",
    "a tuple": b"a: !!python/tuple [1]",
    "a billion laughs": LAUGHS.encode(),
    "a billion merges": MERGES.encode(),
    "a value inside itself": b"a: &a [*a]",
    "a table inside itself": b"a: &a {b: *a}",
    "deep brackets": b"a: " + b"[" * 5000,
    "deep tables": b"".join(b" " * n + b"a:\n" for n in range(1200)),
    "a number of 5,000 digits": b"a: " + b"9" * 5000,
    "a day that does not exist": b"a: 2001-99-99",
    "a tag that does not fit: int": b"a: !!int x",
    "a tag that does not fit: empty int": b"a: !!int ''",
    "a tag that does not fit: bool": b"a: !!bool maybe",
    "a tag that does not fit: float": b"a: !!float x",
    "a tag that does not fit: time": b"a: !!timestamp zz",
    "a tag that nobody knows": b"a: !mine x",
    "an empty binary number": b"a: 0b_",
    "a version that does not exist": b"%YAML 9.9\n---\na: 1",
    "two documents": b"--- {a: 1}\n--- {b: 2}",
    "a list": b"- 1",
    "a list of pairs": b"!!omap [a: 1]",
    "a set": b"!!set {a, b}",
    "a text": b"a",
    "a number as key": b"1: 2",
    "a list as key": b"? [a]\n: b",
    "an alias of nothing": b"a: *b",
    "a zero byte": b"a: \0",
    "Latin-1": b"a: \xe9",
    "UTF-16": "a: 1".encode("utf-16"),
    "a surrogate": b"a: \xed\xa0\x80",
    "too large": b"a: " + b"x" * (1 << 20),
}


@pytest.mark.parametrize("content", YAML.values(), ids=YAML.keys())
def test_a_hostile_yaml_file_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "hostile.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"hostile\.yaml") as refused:
        read_settings(file)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 1000
    with pytest.raises(ConfigError):
        Config("SASRec", "ml-100k", config_file_list=[str(file)])
    assert list(tmp_path.iterdir()) == [file]


def test_harmless_references_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: &a [1, 2]\nb: *a\nc: &c {x: 1}\nd: {<<: *c, y: 2}\n")
    assert read_settings(file) == {"a": [1, 2], "b": [1, 2], "c": {"x": 1}, "d": {"x": 1, "y": 2}}


@pytest.mark.parametrize("name", ["", ".", "absent.yaml", "a\0b", "/dev/zero"])
def test_what_is_no_file_of_settings_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        read_settings(name)


CODE = [
    "__import__('os').mkdir('trace')",
    "[__import__('os').mkdir('trace')]",
    "(lambda: __import__('os').mkdir('trace'))()",
    "os.mkdir('trace')",
    "self.yaml_loader",
    "exec('import os')",
    "().__class__.__mro__[1].__subclasses__()",
    "9**9**9",
    "[0]*10**10",
    "(" * 5000,
]


@pytest.mark.parametrize("code", CODE)
def test_a_value_that_is_code_stays_text_everywhere(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.yaml").write_text(f"own_key: {code!r}\n")
    monkeypatch.setattr(sys, "argv", ["run", f"--other_key={code}"])
    config = Config(
        "SASRec", "ml-100k", config_file_list=["a.yaml"], config_dict={"last_key": code, "train_neg_sample_args": None}
    )
    assert [config[key] for key in ("own_key", "other_key", "last_key")] == [code] * 3
    assert parse_line([f"--x={code}"]) == {"x": code}
    assert not Path("trace").exists()


def test_recboles_values_mean_what_they_meant() -> None:
    given = {"a": "1e-3", "b": "[1, 2]", "c": "None", "d": "true", "e": "{'x': 1}", "f": "-2", "g": "plain", "h": "'q'"}
    config = Config("SASRec", "ml-100k", config_dict={**given, "train_neg_sample_args": None})
    assert [config[key] for key in given] == [0.001, [1, 2], None, True, {"x": 1}, -2, "plain", "q"]


def test_the_choices_of_a_search_space_run_nothing() -> None:
    pytest.importorskip("hyperopt")
    Path("space").write_text("x choice [__import__('os').mkdir('trace')]\n")
    with pytest.raises(ConfigError, match="choices of a search space"):
        HyperTuning._build_space_from_file("space")
    assert not Path("trace").exists()
    Path("space").write_text("x choice [0.1,0.2]\n")
    assert list(HyperTuning._build_space_from_file("space")) == ["x"]


@pytest.mark.parametrize("name", ["print", "nn.Linear", "torch", "__import__('os')", "DAGFM("])
def test_a_teacher_is_looked_up_by_its_name_only(name: str) -> None:
    with pytest.raises(ConfigError, match="`teacher` must be the name of a network"):
        vars(kd_dagfm)["eval"](name)
    assert vars(kd_dagfm)["eval"]("CrossNet") is kd_dagfm.CrossNet


def test_embeddings_beside_the_data_are_numbers_only(tmp_path: Path) -> None:
    class Trace:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.mkdir, (tmp_path / "trace",)

    np.save(tmp_path / "item_emb.npy", np.array([Trace()], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="must be an array of numbers"):
        ldiffrec.np.load(str(tmp_path / "item_emb.npy"), allow_pickle=True)
    assert not (tmp_path / "trace").exists()
    np.save(tmp_path / "item_emb.npy", np.eye(2))
    assert ldiffrec.np.load(str(tmp_path / "item_emb.npy"), allow_pickle=True).shape == (2, 2)


OPERATION = """
from pathlib import Path
Path("trace").touch()
"""


def test_a_file_of_settings_alone_runs_no_operations_of_its_own(toy: Path) -> None:
    Path("evil.py").write_text(OPERATION)
    Path("a.yaml").write_text(f"ops_module: evil.py\ndata_path: {toy}\n")
    line = parse_line(["--model=NASR", "--dataset=toy", "--config_files=a.yaml"])
    with pytest.raises(ConfigError, match="if you trust it, give ops_module on the command line"):
        check_request(build_request(line))
    with pytest.raises(ConfigError, match="if you trust it"):
        Config("NASR", "toy", config_file_list=["a.yaml"])
    assert not Path("trace").exists()
    with pytest.raises(NASRError, match="registers no operation"):  # now it has been run
        check_request(build_request({**line, "ops_module": "evil.py"}))
    assert Path("trace").exists()


GUARDED = {
    "config/configurator.py: eval": "values of keys; the tests above",
    "config/configurator.py: yaml.load": "RecBole's loader, made safe",
    "data/dataset/dataset.py: yaml.load": "RecBole's own list of addresses",
    "data/utils.py: pickle.load": "saved data sets and loaders",
    "model/context_aware_recommender/kd_dagfm.py: eval": "the teacher",
    "model/context_aware_recommender/kd_dagfm.py: torch.load": "tensors only, by torch from 2.6 on",
    "model/general_recommender/convncf.py: torch.load": "the same; no sequential model",
    "model/general_recommender/ldiffrec.py: np.load": "embeddings",
    "model/general_recommender/nais.py: torch.load": "tensors only; no sequential model",
    "model/general_recommender/neumf.py: torch.load": "tensors only; no sequential model",
    "model/general_recommender/ract.py: torch.load": "tensors only; no sequential model",
    "model/sequential_recommender/s3rec.py: torch.load": "a checkpoint",
    "quick_start/quick_start.py: torch.load": "a checkpoint",
    "trainer/hyper_tuning.py: eval": "choices of a search space",
    "trainer/trainer.py: torch.load": "a checkpoint",
}
"""Where RecBole 1.2 turns text or files into objects, and what comes through there."""


def test_there_is_no_other_place_where_recbole_runs_text_or_reads_pickles() -> None:
    root, found = Path(recbole.__file__).parent, set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name in ("eval", "exec", "os.system") or (
                    name.endswith((".load", ".loads")) and name != "json.loads"
                ):
                    found.add(f"{path.relative_to(root).as_posix()}: {name}")
    assert {place for place in found if not place.endswith("wandb.load")} == set(GUARDED)


@pytest.mark.parametrize("file", ["ok.yaml", Path("ok.yaml")])
def test_a_file_where_a_list_of_files_belongs_is_refused(file: str | Path) -> None:
    Path("ok.yaml").write_text("epochs: 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"`config_file_list` is a list of files, but is 'ok.yaml'; write it in"):
        Config("NASR", "ml-100k", config_file_list=file)

from __future__ import annotations

import gzip
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from recbole_nasr.data.atomic import safe_names
from recbole_nasr.data.vocabulary import Vocabulary, original_name
from recbole_nasr.errors import DataError
from recbole_nasr.runs.folder import RunFolder
from recbole_nasr.runs.results import save_items

ODD = ["", "NA", "50%", "%41", 'say "yes"', "two\twords", "\u2028", "\x85", "plain"]


@pytest.mark.parametrize("name", ODD)
def test_a_name_made_safe_is_found_again(name: str) -> None:
    (safe,) = safe_names(np.array([name], dtype=object))
    assert original_name(safe) == name


def test_numbers_of_known_names_and_zero_for_others() -> None:
    vocabulary = Vocabulary(np.array(["", "b", "a"], dtype=object))
    assert vocabulary.numbers(np.array(["a", "c", "", "b"], dtype=object)).tolist() == [2, 0, 0, 1]


def test_a_whole_number_is_the_item_that_the_data_write_with_a_point() -> None:
    vocabulary = Vocabulary(np.array(["", "318.0", "7.0", "7", "a"], dtype=object))
    assert vocabulary.numbers(np.array(["318", "318.0", "7", "7.0", "", "a", "9"], dtype=object)).tolist() == [
        *(1, 1, 3, 2, 0, 4, 0)
    ]


def test_a_run_folder_keeps_numbers_names_and_titles(trained: SimpleNamespace) -> None:
    with gzip.open(trained.nasr / "items.csv.gz", "rt") as file:
        assert file.readline() == "id,item,title\n"
        assert file.readline() == "1,i0,The number 0\n"
    read = Vocabulary.load(trained.nasr / "items.csv.gz")
    assert len(read) == 31
    assert read.titles is not None
    assert read.titles[read.numbers(np.array(["i7"], dtype=object))].tolist() == ["The number 7"]


def test_a_carriage_return_in_an_id_survives_the_file_of_items(tmp_path: Path) -> None:
    vocabulary = Vocabulary(np.array(["", "a\rb", "a", 'x\n"y"'], dtype=object))
    save_items(RunFolder(tmp_path), vocabulary)
    assert Vocabulary.load(tmp_path / "items.csv.gz").names.tolist() == vocabulary.names.tolist()


def test_a_damaged_file_of_items_is_refused(tmp_path: Path) -> None:
    (tmp_path / "items.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="items of a run"):
        Vocabulary.load(tmp_path / "items.csv.gz")

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image

from recbole_nasr.report.selection_figure import operation_effects, save_selection_figure
from recbole_nasr.search import SearchResult


def test_an_operation_is_as_good_as_the_paths_that_have_it(search: SearchResult) -> None:
    block = replace(
        search.blocks[0],
        paths=(("tcn_d1", "gru"), ("tcn_d1", "tcn_d1"), ("gru", "gru"), ("gru", "tcn_d1")),
        scores=np.array([1.0, 3.0, 5.0, 7.0]),
    )
    effects = operation_effects(block, ("gru", "tcn_d1", "skip"))
    spread = np.sqrt(5.0)
    np.testing.assert_allclose(effects[:2], np.array([[-2, 1], [2, -1]]) / spread)
    assert np.isnan(effects[2]).all()


def words_and_numbers(svg: Path) -> tuple[list[str], list[float]]:
    """The text of a drawing apart from its coordinates: the solver of the layout leaves their last digits open.

    Matplotlib names clip paths by a hash of coordinates, so these names are left out.
    """
    parts = re.split(r"(-?\d+\.\d+)", re.sub(r"\bp[0-9a-f]{10}\b", "p", svg.read_text()))
    return parts[::2], [float(number) for number in parts[1::2]]


def test_many_blocks_with_equal_scores_are_drawn_alike_each_time_and_matplotlib_is_left_alone(
    search: SearchResult, tmp_path: Path
) -> None:
    before = dict(mpl.rcParams)
    equal = SearchResult(search.architecture, (replace(search.blocks[0], scores=np.ones(3)),) * 5)
    first, second = (save_selection_figure(equal, tmp_path / name, "NASRSearch on ml") for name in "ab")
    words, numbers = zip(*(words_and_numbers(files[0]) for files in (first, second)), strict=True)
    assert words[0] == words[1]
    np.testing.assert_allclose(*numbers, atol=1e-3)
    assert dict(mpl.rcParams) == before
    with Image.open(first[1]) as image:
        assert min(image.size) > 400

from __future__ import annotations

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


def test_many_blocks_with_equal_scores_are_drawn_alike_each_time_and_matplotlib_is_left_alone(
    search: SearchResult, tmp_path: Path
) -> None:
    before = dict(mpl.rcParams)
    equal = SearchResult(search.architecture, (replace(search.blocks[0], scores=np.ones(3)),) * 5)
    first, second = (save_selection_figure(equal, tmp_path / name, "NASRSearch on ml") for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert dict(mpl.rcParams) == before
    with Image.open(first[1]) as image:
        assert min(image.size) > 400

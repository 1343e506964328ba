from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pytest
from PIL import Image

from recbole_nasr.report.drawing import architecture_text
from recbole_nasr.report.figure import (
    ATTENTION,
    CONVOLUTION,
    FEED_FORWARD,
    OTHER,
    RECURRENT,
    SKIP,
    describe_operation,
    save_figure,
)
from recbole_nasr.space import Architecture

HYBRID = Architecture.parse("transformer_h4,tcn_d1_2/tcn_d1_4,transformer_h8,transformer_h1")


@pytest.mark.parametrize(
    ("name", "kind", "label"),
    [
        ("transformer_h8", ATTENTION, "attention\n8 heads"),
        ("transformer_h1", ATTENTION, "attention\n1 head"),
        ("tcn_d1_4", CONVOLUTION, "convolution\ndilations 1, 4"),
        ("gru4rec", RECURRENT, "recurrent\ngru4rec"),
        ("ligr_h4", ATTENTION, "gated attention\n4 heads"),
        ("hstu_h1", ATTENTION, "HSTU attention\n1 head"),
        ("dwconv_k7", CONVOLUTION, "depthwise conv.\n7 taps"),
        ("gru", RECURRENT, "recurrent\ngru"),
        ("lru", RECURRENT, "linear recurrent\nlru"),
        ("ffn", FEED_FORWARD, "feed-forward"),
        ("skip", SKIP, "skip"),
        ("somebodys_own", OTHER, "somebodys_own"),
        ("somebodys_very_own_h4", OTHER, "somebodys_very_o\nwn_h4"),
    ],
)
def test_an_operation_is_drawn_by_its_kind_and_its_numbers(name: str, kind: object, label: str) -> None:
    assert describe_operation(name) == (kind, label)


def test_kinds_differ_without_colour() -> None:
    kinds = (ATTENTION, CONVOLUTION, RECURRENT, FEED_FORWARD, SKIP, OTHER)
    assert len({kind.hatch for kind in kinds}) == len(kinds)


def test_the_figure_is_written_as_svg_and_png(tmp_path: Path) -> None:
    svg, png = save_figure(HYBRID, tmp_path / "architecture", "NASR on ml")
    assert svg.read_text().startswith("<?xml")
    with Image.open(png) as image:
        shades = {shade for _, shade in image.convert("L").getcolors() or ()}
        assert min(image.size) > 400
    assert {0, 255} <= shades


def test_equal_architectures_give_equal_files(tmp_path: Path) -> None:
    first = save_figure(HYBRID, tmp_path / "a", "NASR on ml")
    second = save_figure(HYBRID, tmp_path / "b", "NASR on ml")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize(
    "text",
    ["gru4rec", "skip,ffn,ligr_h4,dwconv_k7,lru", ",".join(["tcn_d1_2"] * 33), "/".join(["transformer_h4"] * 12)],
)
def test_any_shape_of_architecture_can_be_drawn(tmp_path: Path, text: str) -> None:
    assert all(path.stat().st_size > 0 for path in save_figure(Architecture.parse(text), tmp_path / "a", "x"))


def test_drawing_leaves_the_settings_of_matplotlib_alone(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    save_figure(HYBRID, tmp_path / "a", "x")
    assert dict(mpl.rcParams) == before


def test_the_text_drawing_has_one_aligned_line_per_block() -> None:
    assert architecture_text(HYBRID) == (
        "block 1   transformer_h4  tcn_d1_2\nblock 2   tcn_d1_4        transformer_h8  transformer_h1"
    )


def test_a_long_block_continues_below_itself() -> None:
    lines = architecture_text(Architecture.parse(",".join(["tcn_d1_2"] * 8))).splitlines()
    assert [line.split()[0] for line in lines] == ["block", "tcn_d1_2"]
    assert sum(line.count("tcn_d1_2") for line in lines) == 8

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from recbole.config import Config

from recbole_nasr.configuration.files import read_settings, settings_text
from recbole_nasr.errors import ConfigError

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"])),
    st.sampled_from(["1e-3", "1e5", "[0,inf)", "yes", "~", "1-4", "0x10", "10:30", ".5", "1_000", "-"]),
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner))


@given(st.dictionaries(st.text("abcdef_", min_size=1), VALUES, max_size=4))
def test_recbole_reads_back_exactly_what_was_written(settings: dict[str, object]) -> None:
    loader = Config._build_yaml_loader(None)
    assert yaml.load(settings_text(settings), Loader=loader) == settings  # noqa: S506


@given(st.dictionaries(st.text("abcdef_", min_size=1), VALUES, max_size=4))
def test_we_read_back_exactly_what_was_written(settings: dict[str, object]) -> None:
    path = Path("settings.yaml")
    path.write_text(settings_text(settings), encoding="utf-8")
    assert read_settings(path) == settings


def test_an_empty_file_has_no_settings(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("# nothing\n")
    assert read_settings(tmp_path / "a.yaml") == {}


def test_tables_may_have_the_same_keys_and_override_what_they_take_over(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: &a {x: 1, y: 2}\nb: {x: 1}\nc: {<<: *a, x: 3}\nd: *a\n")
    read = read_settings(tmp_path / "a.yaml")
    assert read == {"a": {"x": 1, "y": 2}, "b": {"x": 1}, "c": {"x": 3, "y": 2}, "d": {"x": 1, "y": 2}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "must be YAML in UTF-8"),
        (b"a: \xff\xfe", "must be YAML in UTF-8"),
        (b"- 1\n- 2\n", "must consist of `key: value` lines"),
        (b"1: 2\n", "must consist of `key: value` lines"),
        (b"a: !!python/object/apply:os.getcwd []\n", "must be YAML in UTF-8"),
        (b"epochs: 5\nseed: 1\nepochs: 50\n", "'epochs' stands in one table twice, again in line 3; keep one"),
        (b"runs:\n  A: {model: NASR}\n  A: {model: SASRec}\n", "'A' stands in one table twice, again in line 3"),
    ],
)
def test_a_file_that_is_no_table_of_settings_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_settings(tmp_path / "a.yaml")
    assert "\n" not in str(caught.value)

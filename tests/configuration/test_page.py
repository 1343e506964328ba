from __future__ import annotations

from pathlib import Path

import pytest

from recbole_nasr.configuration.page import FILES, Key, keys_of, main, page, with_short_table
from recbole_nasr.configuration.resources import load_yaml

ROOT = Path(__file__).parents[2]
HOW = "run `python -m recbole_nasr.configuration.page` in the checkout"


def test_the_page_and_the_readme_say_what_the_yaml_files_say() -> None:
    assert (ROOT / "docs/configuration.md").read_text(encoding="utf-8") == page(), HOW
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_short_table(readme) == readme, HOW


def test_every_key_of_every_file_is_in_the_page() -> None:
    for folder, name in FILES.values():
        keys = list(load_yaml(folder, name))
        assert keys
        assert all(f"| `{key}` | " in page() for key in keys)


def test_a_key_has_the_section_default_type_and_meaning_of_its_line() -> None:
    text = (
        "# About the file.\n\n# Network\nwidth: 64   # (int) How wide. At least 1.\nempty: ~  # (str) Nothing.\n"
        "table:     # (dict) Of its own.\n    inner: 1\n    more: [a, b]\n"
    )
    assert list(keys_of(text)) == [
        Key("width", "64", "int", "How wide. At least 1.", "Network"),
        Key("empty", "~", "str", "Nothing.", "Network"),
        Key("table", "{inner: 1, more: [a, b]}", "dict", "Of its own.", "Network"),
    ]


def test_a_key_that_nobody_explained_is_refused() -> None:
    with pytest.raises(ValueError, match="this line has none: width: 64"):
        list(keys_of("width: 64\n"))


def test_elsewhere_than_in_a_checkout_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert list(tmp_path.iterdir()) == []

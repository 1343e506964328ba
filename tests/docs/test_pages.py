from __future__ import annotations

import re
from pathlib import Path

import pytest

from recbole_nasr.configuration.resources import available

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("study", available("properties/study"))
def test_every_study_has_a_row_a_section_and_a_command(study: str) -> None:
    text = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    assert f"| `{study}` |" in text
    assert f"--study={study} " in text
    assert re.search(rf"^### (.* )?{study}\b", text, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_within_the_pages_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        name, _, part = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        assert other.exists(), target
        if part:
            heads = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads]
            assert part in anchors, target

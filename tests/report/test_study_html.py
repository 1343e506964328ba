from __future__ import annotations

from pathlib import Path

from recbole_nasr.alignment import as_markdown
from recbole_nasr.report.study_html import study_html

SVG = (
    '<?xml version="1.0"?>\n<!DOCTYPE svg>\n<svg width="5pt" xmlns="http://www.w3.org/2000/svg"><metadata>who</metadata>'
    '<path d="M 0 0"/></svg>\n'
)


def test_a_drawing_is_put_into_the_page_without_its_xml_head_and_metadata(tmp_path: Path) -> None:
    (tmp_path / "figure.svg").write_text(SVG)
    document = study_html("# A study\n\n![what it shows](figure.svg)\n", tmp_path)
    assert '<svg role="img" aria-label="what it shows" width="5pt"' in document
    assert "<?xml" not in document
    assert "<metadata>" not in document
    assert "<figcaption>what it shows</figcaption>" in document


def test_a_picture_of_pixels_is_put_into_the_page_too(tmp_path: Path) -> None:
    (tmp_path / "plot.png").write_bytes(b"abc")
    assert 'src="data:image/png;base64,YWJj"' in study_html("# A\n\n![plot](plot.png)\n", tmp_path)


def test_a_picture_that_is_gone_leaves_its_title(tmp_path: Path) -> None:
    assert "<p>what it showed</p>" in study_html("# A\n\n![what it showed](figure.svg)\n", tmp_path)


def test_text_of_a_run_is_text_and_never_markup(tmp_path: Path) -> None:
    page = "# A < B\n\n- run: '<' not supported <script>alert(1)</script>\n\n<img src=x onerror=alert(1)>\n"
    document = study_html(page, tmp_path)
    assert "<title>A &lt; B</title>" in document
    assert "<script" not in document
    assert "<img" not in document
    assert "'&lt;' not supported &lt;script&gt;" in document


def test_tables_can_be_scrolled_on_a_phone_and_warnings_stand_out(tmp_path: Path) -> None:
    document = study_html("# A\n\n**Not complete.**\n\n| row | x |\n| --- | ---: |\n| a | **1** |\n", tmp_path)
    assert '<div class="scroll"><table>' in document
    assert '<p class="note"><strong>Not complete.</strong></p>' in document
    assert '<td style="text-align: right;"><strong>1</strong></td>' in document
    assert 'name="viewport"' in document
    assert "prefers-color-scheme: dark" in document
    assert "@media print" in document


def test_a_bar_in_a_cell_is_text_and_ends_no_cell(tmp_path: Path) -> None:
    table = as_markdown([["row", "x"], ["mask | crop", "0.1"], ["two\nlines", "0.2"]])
    assert table.splitlines()[2:] == ["| mask \\| crop | 0.1 |", "| two lines | 0.2 |"]
    document = study_html(f"# A\n\n{table}\n", tmp_path)
    assert "<td>mask | crop</td>" in document
    assert document.count("<td") == 4

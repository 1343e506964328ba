"""``report.html`` of a study: the page in one file, to read on a screen, on a phone or on paper."""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path

import markdown

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #5b6675; --paper: #ffffff; --band: #f3f5f8; --line: #d9dfe7;
  --mark: #8a4b00; --note: #fff6e5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa6b5; --paper: #14181e; --band: #1d232b;
  --line: #343d49; --mark: #ffc46b; --note: #2b2415; }
  figure svg, figure img { filter: invert(0.92) hue-rotate(180deg); } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 1.5rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0.5rem 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 0.6rem; padding-top: 0.8rem; border-top: 1px solid var(--line); }
p, li { max-width: 46rem; }
p.note { background: var(--note); border-left: 4px solid var(--mark); padding: 0.6rem 0.9rem; }
p.note strong { font-weight: 500; }
.scroll { overflow-x: auto; margin: 1rem 0; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: 0.86rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.4rem 0.65rem; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { background: var(--band); text-align: left; font-weight: 600; }
tr:last-child td { border-bottom: 0; }
td:first-child, th:first-child { position: sticky; left: 0; background: var(--band); }
td strong { color: var(--mark); }
code { font: 0.88em ui-monospace, "DejaVu Sans Mono", monospace; background: var(--band); padding: 0.1em 0.3em;
  border-radius: 3px; overflow-wrap: anywhere; }
pre { background: var(--band); padding: 0.8rem 1rem; border-radius: 6px; overflow-x: auto; }
pre code { background: none; padding: 0; overflow-wrap: normal; }
figure { margin: 1.2rem 0; }
figure svg, figure img { max-width: 100%; height: auto; display: block; }
figcaption { color: var(--soft); font-size: 0.86rem; }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } .scroll { overflow: visible; border: 0; }
  th, td { white-space: normal; padding: 0.2rem 0.3rem; font-size: 7.5pt; } h2 { break-after: avoid; }
  figure, tr { break-inside: avoid; } pre { white-space: pre-wrap; } }
@media (max-width: 40rem) { body { font-size: 15px; } h1 { font-size: 1.35rem; }
  td:first-child, th:first-child { max-width: 9rem; white-space: normal; } }
"""

_PICTURE = re.compile(r'<p>(?:<img alt="([^"]*)" src="([^"]*)" />)</p>')
_NOTE = re.compile(r"<p>(<strong>.*?</strong>)</p>", re.DOTALL)
_UNWANTED = re.compile(r"^.*?(?=<svg)|<metadata>.*?</metadata>", re.DOTALL)  # XML before it, and who drew it


def study_html(page: str, folder: Path) -> str:
    """Convert the Markdown page of a study into one self-contained HTML file.

    Args:
        page: From :func:`recbole_nasr.report.study_page.study_page`.
        folder: Folder of the figures that the page refers to.
    """
    converter = markdown.Markdown(extensions=["tables", "fenced_code", "sane_lists"])
    converter.preprocessors.deregister("html_block")  # names of rows and reasons of failures are text, never markup
    converter.inlinePatterns.deregister("html")
    body = converter.convert(page)
    title = html.escape(re.sub(r"^#\s*", "", page.partition("\n")[0]), quote=False)
    body = _PICTURE.sub(lambda found: _figure(folder / found[2], found[1]), body)
    body = _NOTE.sub(r'<p class="note">\1</p>', body)
    body = body.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _figure(path: Path, title: str) -> str:
    """Return the embedded picture, or its title if the file is missing."""
    if not path.is_file():
        return f"<p>{title}</p>"
    if path.suffix == ".svg":
        drawn = _UNWANTED.sub("", path.read_text(encoding="utf-8"))
        picture = drawn.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
    else:
        encoded = base64.b64encode(path.read_bytes()).decode("ascii")
        picture = f'<img alt="{title}" src="data:image/png;base64,{encoded}">'
    return f"<figure>{picture}<figcaption>{title}</figcaption></figure>"

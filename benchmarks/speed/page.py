"""The page about speed: every number in it comes from a file of results.

Run ``python benchmarks/bench.py --no-run --json RESULTS --page docs/performance.md``. What is prose stands in
``performance.template.md`` beside this module; ``{{name}}`` there is replaced by what the functions here make.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.speed.figure import save_roofline
from benchmarks.speed.results import FINISHED
from benchmarks.speed.sections import ON_REQUEST, sections
from benchmarks.speed.tables import case_table, growth_table, import_lines, limits_table, machine_lines, roofline_table
from benchmarks.speed.targets import gpu_targets_table, targets_table

IN_ONE = "The file here was made by one command, one section after the other."
IN_PARTS = "The file here was put together from runs of single sections (`--only`), some of them at the same time."
NO_GPU = "There was no GPU: nothing on this page is a claim about one."
TEMPLATE = Path(__file__).with_name("performance.template.md")
Results = dict[str, Any]
_PLACE = re.compile(r"\{\{(\w+)(?::(\w+))?\}\}")


def write_page(results: Results, page: Path, gpu: Results | None = None) -> None:
    """Write the page, and the figure of the roofline beside it.

    Args:
        results: Of a CPU.
        page: The Markdown file; the figure takes its name, with ``-roofline.svg``.
        gpu: Of a GPU; where there are none, the page says "not measured".
    """
    figure = page.with_name(f"{page.stem}-roofline.svg")
    save_roofline(results, figure)
    if gpu:
        save_roofline(gpu, figure.with_stem(f"{figure.stem}-gpu"))
    page.write_text(page_text(results, gpu, figure.name), encoding="utf-8")


def measured_in_one(results: Results) -> bool:
    """Return whether a run, with what resumed it, finished every section that runs unasked."""
    ended = results.get("sections", {})
    return all(ended.get(name) == FINISHED for name in sections() if name not in ON_REQUEST)


def _runs(results: Results) -> str:
    if not measured_in_one(results):
        return IN_PARTS
    again = ", ".join(f"`{name}`" for name in results.get("again", ()))
    return f"{IN_ONE} Measured again after it (`--only`): {again}." if again else IN_ONE


def _gpu_limits(gpu: Results, figure: str) -> str:
    drawn = Path(figure).with_stem(f"{Path(figure).stem}-gpu").name
    return f"On the GPU:\n\n{limits_table(gpu)}\n\n![Roofline of the GPU]({drawn})"


def page_text(results: Results, gpu: Results | None, figure: str) -> str:
    """Return the page.

    Raises:
        ValueError: If the template asks for something unknown.
    """

    def tables(name: str) -> str:
        found = [case_table(case) for case in results["cases"] if case["section"] == name]
        if gpu:
            found += [case_table(case, "GPU: ") for case in gpu["cases"] if case["section"] == name]
        return "\n\n".join(found) or "Not measured."

    makers: dict[str, Callable[[], str]] = {
        "machine": lambda: machine_lines(results),
        "runs": lambda: _runs(results),
        "gpu_machine": lambda: f"GPU: {machine_lines(gpu)}" if gpu else NO_GPU,
        "gpu_targets": lambda: gpu_targets_table(gpu),
        "gpu_limits": lambda: _gpu_limits(gpu, figure) if gpu else "Not measured on a GPU.",
        "roofline": lambda: roofline_table(results, gpu),
        "targets": lambda: targets_table(results),
        "limits": lambda: limits_table(results),
        "growth": lambda: growth_table(results),
        "import": lambda: import_lines(results),
        "figure": lambda: figure,
    }

    def fill(match: re.Match[str]) -> str:
        name, argument = match.groups()
        if name == "section":
            return tables(argument)
        if name not in makers:
            msg = f"The template asks for {match.group()!r}, but knows {', '.join(makers)} and section:NAME."
            raise ValueError(msg)
        return makers[name]()

    return _PLACE.sub(fill, TEMPLATE.read_text(encoding="utf-8"))

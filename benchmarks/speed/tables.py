"""Tables of the page."""

from __future__ import annotations

import math
from typing import Any

from benchmarks.speed.text import milliseconds, published_time, ratio

NOT_MEASURED = "not measured"
Results = dict[str, Any]
SECTION_NAMES = {
    "data": "data",
    "search_step": "search step",
    "ranking": "ranking",
    "retraining": "retraining step",
    "softmax": "softmax and loss",
    "evaluation": "evaluation",
}


def table(header: list[str], rows: list[list[str]], *, left: int = 1) -> str:
    """Return a Markdown table whose first ``left`` columns are text and whose others are numbers."""
    rule = ["---" if column < left else "---:" for column in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, rule, *rows])


def find_case(results: Results | None, section: str, title: str, shape: str) -> dict[str, Any] | None:
    """Return a case, or nothing."""
    cases = results["cases"] if results else []
    wanted = (section, title, shape)
    return next((case for case in cases if (case["section"], case["title"], case["shape"]) == wanted), None)


def find_line(case: dict[str, Any] | None, name: str) -> dict[str, Any]:
    """Return the line of an implementation, or an empty one."""
    lines = case["lines"] if case else []
    return next((line for line in lines if line["implementation"] == name), {})


def machine_lines(results: Results) -> str:
    """Return what was measured on."""
    machine, loads = results["machine"], [load for case in results["cases"] for load in case["load"]]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    days = sorted({case["at"][:10] for case in results["cases"]})
    return (
        f"{machine['device']}, {machine['torch_threads']} of {machine['cpu_count']} cores, Python {machine['python']}, "
        f"{packages}; {' and '.join(days)}. The load of the machine was {min(loads):.1f} to {max(loads):.1f} while it "
        "measured, our own included."
    )


def roofline_table(results: Results, gpu: Results | None) -> str:
    """Return the ceilings, CPU beside GPU."""
    roof, other = results["roofline"], gpu["roofline"] if gpu else None

    def row(name: str, key: str, unit: str, scale: float, precision: str | None = None) -> list[str]:
        def value(of: dict[str, Any] | None) -> str:
            if of is None:
                return NOT_MEASURED
            number = of[key].get(precision) if precision else of[key]
            return f"{number * scale:,.3g} {unit}" if number is not None else "-"

        return [name, value(roof), value(other)]

    rows = [
        row("large matrix product, fp32", "flops", "GFLOP/s", 1e-9, "fp32"),
        row("large matrix product, TF32", "flops", "GFLOP/s", 1e-9, "tf32"),
        row("large matrix product, bf16", "flops", "GFLOP/s", 1e-9, "bf16"),
        row("matrix product of a layer (7,680 rows, 64 to 256), fp32", "narrow_flops", "GFLOP/s", 1e-9),
        row("large copy, read and written", "bandwidth", "GB/s", 1e-9),
        row("one operation on 8 numbers, from Python", "eager_s", "µs", 1e6),
        row("the same in a captured graph", "launch_s", "µs", 1e6),
    ]
    if results["machine"]["device_type"] == "cpu":
        rows[-1][1] = "-"
    return table(["", "this CPU", "GPU"], rows)


def case_table(case: dict[str, Any], where: str = "") -> str:
    """Return a case: a row for each implementation.

    Args:
        case: Of the results.
        where: Put before its title.
    """
    lines = case["lines"]
    base, published = lines[0].get("median_s"), published_time(lines)
    rows = [_row(line, base, published) for line in lines]
    first = lines[0]["implementation"]
    header = [
        "",
        "ms",
        "quartiles",
        f"faster than {first}",
        "than published",
        "of the floor",
        "kernels",
        "MiB",
    ]
    notes = "; ".join(f"{line['implementation']}: {line['note']}" for line in lines if line["note"])
    caption = f"**{where}{case['title'][0].upper()}{case['title'][1:]}, `{case['shape']}`**: {case['unit']}."
    said = f" {notes[:1].upper()}{notes[1:]}." if notes else ""
    return f"{caption}{said}\n\n{table(header, rows)}"


def _row(line: dict[str, Any], base: float | None, published: float | None) -> list[str]:
    name = line["implementation"]
    if "refused" in line:
        return [f"{name}: refused, {line['refused']}", *["-"] * 7]
    seconds, floor = line["median_s"], line.get("floor", {}).get("seconds")
    return [
        name,
        milliseconds(seconds),
        f"{milliseconds(line['q1_s'])} to {milliseconds(line['q3_s'])}",
        ratio(base, seconds),
        ratio(published, seconds),
        f"{seconds / floor:.3g}" if floor and not name.startswith("published") else "-",
        f"{line['kernels']:,}" if "kernels" in line else "-",
        f"{line['peak_bytes'] / 2**20:,.0f}" if "peak_bytes" in line else "-",
    ]


def limits_table(results: Results) -> str:
    """Return, for every case, the floor and what makes it, and how near our way comes."""
    rows = []
    for case in results["cases"]:
        line = find_line(case, "fast")
        if "floor" not in line or "median_s" not in line:
            continue
        floor, parts = line["floor"], line["floor"]["parts_s"]
        rows.append(
            [
                f"{SECTION_NAMES[case['section']]}, {case['title']}, `{case['shape']}`",
                *(milliseconds(parts[name]) for name in ("FLOPs", "bytes", "launches")),
                floor["limit"],
                milliseconds(line["median_s"]),
                f"{line['median_s'] / floor['seconds']:.3g}",
            ]
        )
    return table(["ms", "FLOPs", "bytes", "launches", "floor", "fast", "of the floor"], rows)


def growth_table(results: Results) -> str:
    """Return a line for every size that grows: times, and the power of the size that the last doubling looks like."""
    rows = []
    for case in results["cases"]:
        if case["section"] != "growth":
            continue
        lines = [line for line in case["lines"] if "median_s" in line]
        sizes = [int(line["implementation"]) for line in lines]
        times = [line["median_s"] for line in lines]
        power = math.log(times[-1] / times[-2]) / math.log(sizes[-1] / sizes[-2]) if len(lines) > 1 else math.nan
        shown = ", ".join(f"{size:,}: {milliseconds(time)}" for size, time in zip(sizes, times, strict=True))
        rows.append([case["title"], case["unit"], shown, f"{power:.2f}"])
    return table(["what grows", "measured", "size: ms", "power"], rows, left=3) if rows else "Not measured."


def import_lines(results: Results) -> str:
    """Return what importing takes."""
    found = results.get("import_time")
    if not found:
        return "Not measured."
    return (
        f"`import torch, recbole_nasr` takes {found['total_s']:.2f} s of processor time in a fresh process, of which "
        f"{found['own_s']:.2f} s are neither torch's nor RecBole's."
    )

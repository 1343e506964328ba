"""Results as lines of text."""

from __future__ import annotations

from typing import Any

from benchmarks.speed.roofline import Roofline

COLUMNS = f"{'':42s}" + "".join(
    f"{title:>{width}s}"
    for title, width in (
        ("ms", 12),
        ("quartiles", 20),
        ("x reference", 13),
        ("x published", 13),
        ("x floor", 9),
        ("kernels", 9),
        ("MiB", 8),
    )
)


def roofline_text(roofline: Roofline) -> str:
    """Return the ceilings of the machine."""
    flops = ", ".join(f"{name} {value / 1e9:,.0f}" for name, value in roofline.flops.items())
    return (
        f"roofline: GFLOP/s {flops} (layers' shape {roofline.narrow_flops / 1e9:,.0f}), "
        f"{roofline.bandwidth / 1e9:.1f} GB/s, {roofline.eager_s * 1e6:.2f} us an operation, "
        f"{roofline.launch_s * 1e6:.2f} us a captured kernel"
    )


def time_of(lines: list[dict[str, Any]], name: str) -> float | None:
    """Return the median of the line called ``name``."""
    return next((line.get("median_s") for line in lines if line["implementation"] == name), None)


def published_time(lines: list[dict[str, Any]]) -> float | None:
    """Return the median of the published code as shipped."""
    return time_of(lines, "published, as shipped")


def milliseconds(seconds: float) -> str:
    """Return milliseconds with three digits that count.

    Example:
        >>> milliseconds(1.23456), milliseconds(0.0012345)
        ('1,235', '1.23')
    """
    value = seconds * 1000
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ratio(base: float | None, seconds: float | None) -> str:
    """Return how many times as fast ``seconds`` is, or a dash."""
    return f"{base / seconds:.3g}" if base and seconds else "-"


def case_text(case: dict[str, Any]) -> str:
    """Return a case for a terminal."""
    first, last = case["load"]
    rows = [f"\n{case['section']}: {case['title']}, {case['shape']}, {case['unit']} (load {first}, {last})", COLUMNS]
    lines = case["lines"]
    reference, published = lines[0].get("median_s"), published_time(lines)
    for line in lines:
        name = f"  {line['implementation']}"
        if "refused" in line:
            rows.append(f"{name:42s}  refused: {line['refused']}")
            continue
        seconds = line["median_s"]
        spread = f"{milliseconds(line['q1_s'])}-{milliseconds(line['q3_s'])}"
        floor = f"{seconds / line['floor']['seconds']:.3g}" if "floor" in line and line["floor"]["seconds"] else "-"
        memory = f"{line['peak_bytes'] / 2**20:.0f}" if "peak_bytes" in line else "-"
        rows.append(
            f"{name:42s}{milliseconds(seconds):>12s}{spread:>20s}{ratio(reference, seconds):>13s}"
            f"{ratio(published, seconds):>13s}{floor:>9s}{line.get('kernels', '-')!s:>9s}{memory:>8s}"
        )
    return "\n".join(rows)

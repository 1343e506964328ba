"""Gives every numeric key of ours every extreme value: it must be refused in one line, or the run must end well.

    python benchmarks/reliability/extremes.py --out=FILE

The keys are found in the YAML files that hold their defaults, so a new one is never forgotten. Of what the check
before a run lets pass, the least and the greatest value of each key are run to their end on 12 made-up users, in one
process; every metric must then be a finite number. A number that becomes NaN or infinite on the way, as with a learning
rate of 1e308, must end the run in one line as well.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import math
import os
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import recbole_nasr  # noqa: F401  (repairs RecBole before it is imported)
from recbole_nasr import preflight, run_checks
from recbole_nasr.arguments import build_request
from recbole_nasr.cli import main as run_command
from recbole_nasr.configuration_page import FILES, keys_of
from recbole_nasr.errors import NASRError
from recbole_nasr.resources import resource_dir

VALUES: tuple[Any, ...] = (
    *(0, -1, 1, 2, 10**9, 2**31 - 1, 2**31, 2**63, -(2**63), 10**400),
    *(0.5, 1e-300, 1e308, -0.0, math.nan, math.inf, -math.inf),
    *("many", "", "1e3x", True, [], [0], [10**9, 10**9], {}, {"max_norm": math.nan}),
)
"""What a key is given; text, switches, lists and tables are the wrong type for most."""

MEANT = {
    "epochs", "search_epochs", "search_min_steps", "search_networks", "search_time", "search_verify",
    "search_verify_random", "search_verify_ties", "evolution_networks", "halving_epochs", "search_sweeps",
}  # fmt: skip
"""Keys that say how long to work: a huge value is meant, and is not waited for."""

LONGEST_LINE = 600
"""Characters of an error; it must not repeat a value of any length."""

MOST_MEMORY = 8 << 30
"""Bytes that the process may have: what would take more fails here, and does not take the machine with it."""

DATA_FILES = ("dataset_configs", "properties/data")

TINY: dict[str, Any] = {
    "model": "NASRSearch",
    "dataset": "mine",
    "source": "events.csv",
    "device": "cpu",
    "candidate_ops": ["transformer_h1", "tcn_d1_2"],
    "n_layers": 2,
    "n_blocks": 2,
    "hidden_size": 4,
    "epochs": 1,
    "eval_step": 1,
    "search_epochs": 1,
    "search_n_paths": 2,
    "search_holdout_ratio": 0.3,
    "topk": [1, 5],
}


@dataclass(frozen=True)
class NumericKey:
    """A key that takes numbers.

    Args:
        name: The key.
        of_data: Whether it says how data are prepared.
    """

    name: str
    of_data: bool


def numeric_keys() -> list[NumericKey]:
    """Return every key in our YAML files that may be a number, or a list or table of numbers."""
    found = {}
    for folder, name in FILES.values():
        root, _, rest = folder.partition("/")
        text = (resource_dir(root) / rest / f"{name}.yaml").read_text(encoding="utf-8")
        for key in keys_of(text):
            if "int" in key.kind or "float" in key.kind or _holds_number(yaml.safe_load(key.default)):
                found[key.name] = NumericKey(key.name, folder in DATA_FILES)
    return list(found.values())


def _holds_number(value: Any) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
    return any(isinstance(part, (int, float)) and not isinstance(part, bool) for part in parts)


def write_data(folder: Path) -> None:
    """Write ``events.csv``: 12 users, each with 8 of 10 items in cyclic order."""
    rows = (f"u{user},i{(user + step) % 10},{step}" for user in range(12) for step in range(8))
    (folder / "events.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")


def line_of(key: str, value: Any) -> dict[str, Any]:
    """Return the command line that gives ``key`` its ``value``, and else asks for the least."""
    line = {**TINY, key: value}
    if key == "search_time":
        line["search_strategy"] = "random"
    if key.startswith("halving"):
        line["search_strategy"] = "halving"
    if key.startswith("evolution"):
        line["search_preset"] = "evolution"
    return line


@contextlib.contextmanager
def checked_values() -> Iterator[Callable[[str, Any], str]]:
    """Yield a function that says why the check of values refuses a value of a key; empty if it does not.

    It is the part of the check before a run that looks at values, on a configuration that is made once.
    """
    configurations = {}
    with contextlib.ExitStack() as stack:

        def refused(key: str, value: Any) -> str:
            line = line_of(key, 0)
            kind = tuple(str(line.get(name)) for name in ("search_strategy", "search_preset"))
            if kind not in configurations:
                del line[key]
                (run,) = preflight.plan(build_request(line))
                made = run_checks.configuration_of(run.model, "mine", run.settings)
                configurations[kind] = stack.enter_context(made)
            trial = copy.copy(configurations[kind])
            as_read = [value] if key == "topk" and type(value) is int else value  # RecBole makes a list of it
            trial.final_config_dict = {**trial.final_config_dict, key: as_read}
            try:
                run_checks.check_values(trial)
            except NASRError as error:
                return str(error)
            return ""

        yield refused


def outcome(line: dict[str, Any], number: int) -> str:
    """Run a command to its end; return ``refused``, ``ended``, ``stopped: …``, or what must not be."""
    name = f"number-{number}"
    words = [f"--{key}={value}" for key, value in {**line, "run_name": name}.items()]
    screen, errors = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(errors):
            code = run_command(words)
    except Exception as error:
        return f"LOST: {type(error).__name__}: {error}"[:300]
    made = [*Path("runs/mine").glob(f"*-{name}")]
    if code:
        lines = errors.getvalue().strip().splitlines()
        if not lines or not lines[-1].startswith("error: ") or len(lines[-1]) > LONGEST_LINE:
            return f"LOST: {lines}"
        return f"stopped: {lines[-1][:200]}" if made else "refused"
    (folder,) = made
    metrics = json.loads((folder / "metrics.json").read_text())
    values = [*metrics["valid"].values(), *metrics["test"].values()]
    good = values and all(isinstance(value, float) and math.isfinite(value) for value in values)
    return "ended" if good else f"LOST: metrics {values}"


def ends_of(values: list[Any]) -> list[Any]:
    """Return the least and the greatest of the values that a key can have."""
    return [min(values)] if min(values) == max(values) else [min(values), max(values)]


def cases() -> Iterator[tuple[NumericKey, Any]]:
    """Yield every key with every value that is not to be waited for."""
    for key in numeric_keys():
        for value in VALUES:
            if not (key.name in MEANT and isinstance(value, (int, float)) and value > 10):
                yield key, value


def main() -> None:
    """Try everything and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--check", action="store_true", help="do not run what is not refused")
    options = parser.parse_args()
    out = options.out.resolve()
    sys.argv = sys.argv[:1]  # RecBole reads it
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    os.chdir(tempfile.mkdtemp())
    write_data(Path())
    found: dict[str, dict[str, str]] = {}
    started, passed = time.time(), defaultdict(list)
    with checked_values() as refused:
        for key, value in cases():
            found.setdefault(key.name, {})[f"{value!r:.40}"] = "refused" if refused(key.name, value) else "passed"
            if not refused(key.name, value):
                passed[key.name].append(value)
    chosen = [(key, value) for key, values in passed.items() for value in ends_of(values)]
    for number, (key, value) in enumerate([] if options.check else chosen):
        came = found[key][f"{value!r:.40}"] = outcome(line_of(key, value), number)
        print(f"{key}={value!r:.40}: {came}", flush=True)  # noqa: T201
    totals = Counter(came.partition(":")[0] for by_value in found.values() for came in by_value.values())
    print(dict(totals), f"{time.time() - started:.0f} s")  # noqa: T201
    out.write_text(json.dumps({"totals": totals, "keys": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()

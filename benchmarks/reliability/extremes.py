"""Gives every numeric key every extreme value: it must be refused in one line, or the run must end well.

    python benchmarks/reliability/extremes.py --out=FILE

The keys are found in the YAML files that hold their defaults, so a new one is never forgotten; those of studies and of
some of RecBole's models come on top (``other_keys.py``). Of what the check before a run lets pass, the least and the
greatest value of each key are run to their end on 12 made-up users, in one process; every metric must then be a finite
number. A number that becomes NaN or infinite on the way, as with a learning rate of 1e308, must end the run in one line
as well. A huge value of a key that says how long to work is let work for a while and interrupted, and must then stop.
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
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

try:
    from benchmarks.reliability import other_keys
except ImportError:  # run as a program
    import other_keys  # type: ignore[no-redef]
import recbole_nasr  # noqa: F401  (repairs RecBole before it is imported)
from recbole_nasr.commands.cli import INTERRUPTED
from recbole_nasr.commands.cli import main as run_command
from recbole_nasr.configuration.page import FILES, keys_of
from recbole_nasr.configuration.resources import resource_dir
from recbole_nasr.errors import NASRError
from recbole_nasr.request import preflight
from recbole_nasr.request.request import build_request
from recbole_nasr.runs import checking

VALUES: tuple[Any, ...] = (
    *(0, -1, 1, 2, 10**9, 2**31 - 1, 2**31, 10**18, 2**63, -(2**63), 10**400),
    *(0.5, 1e-300, 1e308, -0.0, math.nan, math.inf, -math.inf),
    *("many", "", "1e3x", True, [], [0], [10**9, 10**9], {}, {"max_norm": math.nan}),
)
"""What a key is given; text, switches, lists and tables are the wrong type for most."""

MEANT = {
    "epochs", "search_epochs", "search_min_steps", "search_networks", "search_time", "search_verify",
    "search_verify_random", "search_verify_ties", "evolution_networks", "halving_epochs", "search_sweeps",
}  # fmt: skip
"""Keys that say how long to work: a huge value is meant, and is not waited for."""

STOPPED_AFTER_S = 5.0
"""So long it is let work."""

LONGEST_LINE = 600
"""Characters of an error; it must not repeat a value of any length."""

MOST_MEMORY = 8 << 30
"""Bytes that the process may have: what would take more fails here, and does not take the machine with it."""

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

_NO_SUPERNET = {name: value for name, value in TINY.items() if not name.startswith("search_")}

READ_BY: dict[str, dict[str, Any]] = {
    key: line
    for keys, line in (
        ("search_time search_networks", {**_NO_SUPERNET, "search_strategy": "random"}),
        ("halving_epochs halving_factor", {**_NO_SUPERNET, "search_strategy": "halving"}),
        ("search_verify_ties search_verify_random", {**TINY, "search_verify": 1}),
        ("evolution_networks evolution_population evolution_tournament", {**TINY, "search_preset": "evolution"}),
        ("augmentation_ratio search_target_momentum search_view_pairs", {**TINY, "search_preset": "paper"}),
        ("search_report_view_pairs search_report_sequences", {**TINY, "search_preset": "paper"}),
        ("search_sweeps", {**TINY, "search_scope": "whole"}),
        ("time_quantiles", {**TINY, "split_by": "time"}),
    )
    for key in keys.split()
}
"""Keys that `TINY` does not read, and what reads them; a key without effect is refused, whatever its value."""


def numeric_keys() -> list[str]:
    """Return the name of every key in our YAML files that may be a number, or a list or table of numbers."""
    found: dict[str, None] = {}
    for folder, name in FILES.values():
        root, _, rest = folder.partition("/")
        text = (resource_dir(root) / rest / f"{name}.yaml").read_text(encoding="utf-8")
        for key in keys_of(text):
            if "int" in key.kind or "float" in key.kind or _holds_number(yaml.safe_load(key.default)):
                found[key.name] = None
    return list(found)


def _holds_number(value: Any) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
    return any(isinstance(part, (int, float)) and not isinstance(part, bool) for part in parts)


def write_data(folder: Path) -> None:
    """Write ``events.csv``: 12 users, each with 8 of 10 items in cyclic order."""
    rows = (f"u{user},i{(user + step) % 10},{step}" for user in range(12) for step in range(8))
    (folder / "events.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")


def line_of(key: str, value: Any) -> dict[str, Any]:
    """Return the command line that gives ``key`` its ``value``, and else asks for the least."""
    return {**READ_BY.get(key, TINY), key: value}


@contextlib.contextmanager
def checked_values() -> Iterator[Callable[[str, Any], str]]:
    """Yield a function that says why the check of values refuses a value of a key; empty if it does not.

    It is the part of the check before a run that looks at values, on a configuration that is made once.
    """
    configurations = {}
    with contextlib.ExitStack() as stack:

        def refused(key: str, value: Any) -> str:
            line = line_of(key, 0)
            kind = str(READ_BY.get(key, TINY))
            if kind not in configurations:
                del line[key]
                (run,) = preflight.plan(build_request(line))
                made = checking.configuration_of(run.model, "mine", run.settings)
                configurations[kind] = stack.enter_context(made)
            trial = copy.copy(configurations[kind])
            as_read = [value] if key == "topk" and type(value) is int else value  # RecBole makes a list of it
            trial.final_config_dict = {**trial.final_config_dict, key: as_read}
            try:
                checking.check_values(trial)
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
    if code == INTERRUPTED:
        return "interrupted" if "what was done is kept" in errors.getvalue() else f"LOST: {errors.getvalue()[:200]}"
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


def until_interrupted(line: dict[str, Any], number: int) -> str:
    """Run a command that would work for years, and interrupt it after a while; return what came of it."""
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, STOPPED_AFTER_S)
    try:
        return outcome(line, number)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def is_meant(key: str, value: Any) -> bool:
    """Return whether ``value`` says that ``key`` shall work for very long."""
    return key in MEANT and isinstance(value, (int, float)) and value > 10


def ends_of(values: list[Any]) -> list[Any]:
    """Return the least and the greatest of the values that a key can have."""
    return [min(values)] if min(values) == max(values) else [min(values), max(values)]


def cases() -> Iterator[tuple[str, Any]]:
    """Yield every key with every value."""
    for key in numeric_keys():
        for value in VALUES:
            yield key, value


Runs = list[tuple[str, Any, Callable[[int], str]]]


def check_ours(found: dict[str, dict[str, str]]) -> Runs:
    """Note in ``found`` which values of our own keys are refused; return what is to be run of the others."""
    passed = defaultdict(list)
    with checked_values() as refused:
        for key, value in cases():
            said = refused(key, value)
            found.setdefault(key, {})[f"{value!r:.40}"] = "refused" if said else "passed"
            if not said:
                passed[key].append(value)
    runs: Runs = []
    for key, values in passed.items():
        short = [value for value in values if not is_meant(key, value)]
        runs += [(key, value, partial(outcome, line_of(key, value))) for value in (ends_of(short) if short else [])]
        long = [value for value in values if is_meant(key, value)]
        runs += [(key, value, partial(until_interrupted, line_of(key, value))) for value in long[-1:]]
    return runs


def check_models(found: dict[str, dict[str, str]]) -> Runs:
    """Do the same for the keys of RecBole's own models."""
    runs: Runs = []
    for model in other_keys.MODELS:
        with other_keys.checked_values_of(model) as refused:
            for key in other_keys.model_keys(model):
                name, passed = f"{model}.{key}", []
                for value in VALUES:
                    said = refused(key, value)
                    found.setdefault(name, {})[f"{value!r:.40}"] = "refused" if said else "passed"
                    passed += [] if said else [value]
                chosen = ends_of(passed) if passed else []
                runs += [(name, value, partial(outcome, other_keys.line_of(model, key, value))) for value in chosen]
    return runs


def check_studies(found: dict[str, dict[str, str]]) -> None:
    """Note which values of the keys of studies are refused; the others are counts and seeds."""
    for name, refused in other_keys.study_keys():
        found[name] = {f"{value!r:.40}": "refused" if refused(value) else "passed" for value in VALUES}


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
    started = time.time()
    runs = check_ours(found) + check_models(found)
    check_studies(found)
    totals = write(out, found)
    for number, (key, value, run) in enumerate([] if options.check else runs):
        came = found[key][f"{value!r:.40}"] = run(number)
        print(f"{key}={value!r:.40}: {came}", flush=True)  # noqa: T201
        totals = write(out, found)  # what is done is kept
    print(dict(totals), f"{time.time() - started:.0f} s")  # noqa: T201


def write(out: Path, found: dict[str, dict[str, str]]) -> Counter[str]:
    """Write what is known so far; return how many cases came out how."""
    totals = Counter(came.partition(":")[0] for by_value in found.values() for came in by_value.values())
    out.write_text(json.dumps({"totals": totals, "keys": found}, indent=1) + "\n")
    return totals


if __name__ == "__main__":
    main()

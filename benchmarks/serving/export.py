"""Export every operation of every search space, compare each file with its network, and time whole networks.

    python benchmarks/serving/export.py --json=FILE

A file is compared on random histories of all lengths, in a batch and alone: the largest difference of a score, and in
how many histories the same items come in the same order. Times are those of one call with the selection of the best
items in it: network in PyTorch and files take turns, with the same number of threads, and ratios are taken round by
round, so that other work on the machine hits all alike. With one thread they are processor time, else wall time.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.speed.timing import calls_per_round, quartiles, seconds_per_call, take_turns
from recbole_nasr import Architecture, HybridNet
from recbole_nasr.configuration.resources import available, load_yaml
from recbole_nasr.machine import device_name, environment
from recbole_nasr.ops import LayerSettings
from recbole_nasr.serving.measured import BATCHES, Parity, measure_parity
from recbole_nasr.serving.network import (
    Runner,
    TopKNetwork,
    eager_runner,
    file_runner,
    random_histories,
    write_network,
)

N_ITEMS, LENGTH, WIDTH, K = 1350, 30, 64, 10  # of `ml`: 1,349 items and padding
N_LAYERS = 16
CPU = torch.device("cpu")

NETWORKS = {
    "sasrec-1": ",".join(["transformer_h4"] * N_LAYERS),
    "nextitnet-1": ",".join(["tcn_d1_2"] * N_LAYERS),
    "half and half": ",".join(["transformer_h4", "tcn_d1_2"] * (N_LAYERS // 2)),
}


def operations() -> dict[str, list[str]]:
    """Return every operation, with the spaces that have it; that of the preset ``gru4rec`` comes last."""
    found: dict[str, list[str]] = {}
    for space in available("properties/space"):
        for name in load_yaml("properties/space", space)["candidate_ops"]:
            found.setdefault(name, []).append(space)
    return {**found, "gru4rec": []}


def network_of(text: str) -> TopKNetwork:
    """Return a network with random weights whose gates are open, so that every layer reaches the scores."""
    torch.manual_seed(0)
    settings = LayerSettings(hidden_size=WIDTH)
    network = HybridNet(Architecture.parse(text), n_items=N_ITEMS, max_length=LENGTH, settings=settings)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.endswith("scale"):
                weight.fill_(1.0)
            elif weight.ndim > 1:  # scores far from each other, as those of a trained network are
                nn.init.normal_(weight, std=0.2)
    return TopKNetwork(network, K, exclude_seen=True).eval()


def exported(network: TopKNetwork, file_format: str) -> tuple[Runner, float, int]:
    """Return the runner of a file, the seconds of writing it, and its bytes."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        path = write_network(network, file_format, LENGTH, Path(folder))
        seconds = time.perf_counter() - start
        return file_runner(path), seconds, path.stat().st_size


def parity_of(text: str, file_format: str) -> dict[str, Any]:
    """Export one network and compare."""
    network = network_of(text)
    run, seconds, size = exported(network, file_format)
    found: Parity = measure_parity(eager_runner(network), run, LENGTH, N_ITEMS)
    return {
        "histories": found.n_rows,
        "same_items": found.n_same,
        "largest_difference": found.largest,
        "largest_score": found.scale,
        "holds": found.holds,
        "export_seconds": seconds,
        "bytes": size,
    }


def latency_of(text: str, formats: Sequence[str], rounds: int, budget_s: float) -> list[dict[str, Any]]:
    """Time one network in PyTorch and in ``formats`` for every size of a batch."""
    network = network_of(text)
    runners: dict[str, Runner] = {"eager": eager_runner(network)}
    runners |= {name: exported(network, name)[0] for name in formats}
    rows = []
    for size in BATCHES:
        calls: list[Callable[[], Any]] = [
            partial(run, *random_histories(size, LENGTH, N_ITEMS)) for run in runners.values()
        ]
        measures = []
        for call in calls:
            call()
            n_calls = calls_per_round(seconds_per_call(call, CPU, 1).wall)
            measures.append(partial(seconds_per_call, call, CPU, n_calls))
        times = dict(zip(runners, take_turns(measures, rounds=rounds, budget_s=budget_s), strict=True))
        row: dict[str, Any] = {"batch": size, "seconds": {name: own.summary() for name, own in times.items()}}
        row["times_as_fast"] = {
            name: quartiles(
                [eager.device / file.device for eager, file in zip(times["eager"].rounds, own.rounds, strict=True)]
            )
            for name, own in times.items()
            if name != "eager"
        }
        rows.append(row)
    return rows


def parity_table(parity: dict[str, dict[str, dict[str, Any]]], formats: Sequence[str]) -> str:
    """Return the table of all operations as Markdown."""
    spaces = operations()
    heads = "".join(f" `{name}`: largest difference | same items |" for name in formats)
    lines = [f"| operation | spaces | largest score |{heads}", "| --- | --- | ---: |" + " ---: |" * 2 * len(formats)]
    for name, row in parity.items():
        cells = "".join(
            f" {row[one]['largest_difference']:.1e} | {row[one]['same_items']} of {row[one]['histories']} |"
            for one in formats
        )
        largest = max(row[one]["largest_score"] for one in formats)
        lines.append(f"| `{name}` | {', '.join(spaces.get(name, ())) or 'preset'} | {largest:.0f} |{cells}")
    return "\n".join(lines)


def latency_table(latency: dict[str, list[dict[str, Any]]], formats: Sequence[str]) -> str:
    """Return the table of all networks as Markdown."""
    heads = "".join(f" `{name}`, ms | times as fast |" for name in formats)
    lines = [f"| network | batch | PyTorch, ms |{heads}", "| --- | ---: | ---: |" + " ---: | ---: |" * len(formats)]
    for name, rows in latency.items():
        for row in rows:
            cells = ""
            for one in formats:
                low, middle, high = row["times_as_fast"][one]
                cells += f" {1000 * row['seconds'][one]['median_s']:.2f} | {middle:.2f} ({low:.2f} to {high:.2f}) |"
            eager = 1000 * row["seconds"]["eager"]["median_s"]
            lines.append(f"| {name} | {row['batch']:,} | {eager:.2f} |{cells}")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    made.add_argument("--json", type=Path, help="where to write the results")
    made.add_argument("--tables", type=Path, help="print the tables of such a file, and measure nothing")
    made.add_argument("--formats", default="onnx,torch", help="of onnx, torch (default: %(default)s)")
    made.add_argument("--ops", default=",".join(operations()), help="operations (default: %(default)s)")
    made.add_argument("--rounds", type=int, default=15, help="rounds of a timing at most; 0 times nothing")
    made.add_argument("--seconds", type=float, default=20.0, help="no round of a timing begins later (default: 20)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write; 1 if a file gives other scores than its network."""
    asked = parser().parse_args(argv)
    if asked.tables:
        read = json.loads(asked.tables.read_text(encoding="utf-8"))
        kept = list(next(iter(read["parity"].values())))
        print(f"{parity_table(read['parity'], kept)}\n\n{latency_table(read['latency'], kept)}")
        return 0
    formats, results = asked.formats.split(","), {}
    for name in filter(None, asked.ops.split(",")):
        results[name] = {one: parity_of(name, one) for one in formats}
        print(name, *(f"{one} {results[name][one]['largest_difference']:.1e}" for one in formats), flush=True)
    latency = {}
    for name, text in NETWORKS.items() if asked.rounds else ():
        latency[name] = latency_of(text, formats, asked.rounds, asked.seconds)
        print(name, "timed", flush=True)
    packages = {one: importlib.metadata.version(one) for one in ("onnx", "onnxruntime", "onnxscript")}
    content = {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "processor": device_name(CPU),
        "environment": environment() | {"onnx_packages": packages},
        "setting": {"items": N_ITEMS - 1, "length": LENGTH, "width": WIDTH, "k": K, "layers": N_LAYERS},
        "parity": results,
        "latency": latency,
    }
    if asked.json:
        asked.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"\n{parity_table(results, formats)}\n\n{latency_table(latency, formats)}")
    return int(not all(row[one]["holds"] for row in results.values() for one in formats))


if __name__ == "__main__":
    sys.exit(main())

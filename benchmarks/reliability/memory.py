"""Compares the memory that a run was estimated to need with the most that its process had.

    python benchmarks/reliability/memory.py --out=FILE

Each size is run in a process of its own, by the command line, on made-up sequences of a few of the items. Beside it the
same items are run with the smallest possible network in batches of two: what that process takes beyond its own estimate
(Python, torch, RecBole and the data) is no part of the other.
On a GPU the peak is that of torch's allocator, and nothing is taken off.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]

SIZES: dict[str, dict[str, Any]] = {
    "small": {"n_items": 2_000, "length": 30, "hidden_size": 64, "n_layers": 8, "n_blocks": 2},
    "wide": {"n_items": 20_000, "length": 50, "hidden_size": 256, "n_layers": 4, "n_blocks": 2},
    "many items": {"n_items": 300_000, "length": 30, "hidden_size": 64, "n_layers": 4, "n_blocks": 2},
}
LEAST = {"hidden_size": 8, "n_layers": 1, "n_blocks": 1, "train_batch_size": 2, "eval_batch_size": 2}
LEAST |= {"candidate_ops": "[transformer_h2]", "search_n_paths": 1, "search_batch_size": 2}
N_SEQUENCES = {"least": 8, "made": 600}
"""Of the smallest network; and two full batches of 256 and more: an optimiser has its moments from the second step on.

Sequences take next to nothing of the memory beside the list of items, which both have.
"""


def write_data(place: Path, n_sequences: int, n_items: int, length: int) -> None:
    """Write a data set: users whose training rows are full, and a list of all items.

    Most items are in no sequence. They cost memory all the same, and no steps.
    """
    rng = random.Random(2020)  # noqa: S311
    place.mkdir(parents=True)
    name = place.name
    steps = length + 3  # a training row has one target per item, and two actions are for validation and test
    rows = (
        f"u{user}\ti{rng.randrange(n_items)}\t{user * steps + step}"
        for user in range(n_sequences)
        for step in range(steps)
    )
    (place / f"{name}.inter").write_text("\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]) + "\n")
    items = (f"i{item}\tc{item % 2}" for item in range(n_items))
    (place / f"{name}.item").write_text("\n".join(["item_id:token\tclass:token", *items]) + "\n")


def run(folder: Path, model: str, name: str, length: int, **settings: Any) -> dict[str, Any]:
    """Run ``model`` once; return its ``run.json``."""
    words: dict[str, Any] = {"epochs": 1, "search_epochs": 1, "search_min_steps": 1}
    words |= {"MAX_ITEM_LIST_LENGTH": length, "run_name": name, **settings}
    words["load_col"] = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "class"]}
    if model == "NASR":
        words = {key: value for key, value in words.items() if not key.startswith(("search_", "candidate"))}
        words["architecture"] = "sasrec-1" if name == "least" else "nextitnet-1"
        if name == "least":
            words["architecture"] = "transformer_h2"
    dataset = "least" if name == "least" else "made"
    command = [
        sys.executable,
        str(ROOT / "run_nasr.py"),
        f"--model={model}",
        f"--dataset={dataset}",
        "--data_path=data",
    ]
    command += [f"--{key}={value}" for key, value in words.items()]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    (place,) = (folder / "runs" / dataset).glob(f"*-{model}-{name}")
    found: dict[str, Any] = json.loads((place / "run.json").read_text())
    return found


def measure(name: str, model: str) -> dict[str, Any]:
    """Return estimate and peak of one size, in bytes."""
    size = dict(SIZES[name])
    n_items, length = size.pop("n_items"), size.pop("length")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for data, n_sequences in N_SEQUENCES.items():
            write_data(folder / "data" / data, n_sequences, n_items, length)
        least = run(folder, model, "least", length, **LEAST)
        found = run(folder, model, name.replace(" ", "-"), length, **size)
    on_gpu = found["device"] != "cpu"
    estimate, of_least = (max(one["estimated_memory_bytes"].values()) for one in (found, least))
    besides = least["peak_memory_bytes"] - of_least  # with many items the smallest network is not small either
    peak = found["peak_gpu_memory_bytes"] if on_gpu else found["peak_memory_bytes"] - besides
    return {
        "size": name,
        "model": model,
        **SIZES[name],
        "device": found["device_name"],
        "estimates": found["estimated_memory_bytes"],
        "peak": peak,
        "estimate_over_peak": round(estimate / peak, 3),
    }


def main() -> None:
    """Measure every size and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sizes", nargs="*", default=list(SIZES))
    options = parser.parse_args()
    found = []
    for name in options.sizes:
        for model in ("NASR", "NASRSearch"):
            found.append(measure(name, model))
            print(json.dumps(found[-1]), flush=True)  # noqa: T201
    content = {"torch": torch.__version__, "sequences": N_SEQUENCES, "sizes": found}
    options.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()

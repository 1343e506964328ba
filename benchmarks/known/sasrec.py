"""Our plain SASRec beside RecTools' SASRec: same sequences, width, length, layers, loss, cases, evaluator and rule.

    python benchmarks/known/sasrec.py --rectools-python=/path/to/python --dataset=ml --seeds 1 2 3

``--rectools-python`` is the interpreter of an environment that has ``rectools[torch]``; this script itself runs where
recbole-nasr is installed. Both sides train the same number of epochs, are validated at the same ones, and the epoch
with the best validation NDCG@20 is the one whose test ranks count. Both sets of ranks go through
``recbole_nasr.statistics.metric_per_case``. No history is masked. Everything else is what each side does by default.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from atomic_file import histories

from recbole_nasr.machine import device_name, versions
from recbole_nasr.statistics import metric_per_case, paired_comparison

METRICS = ("ndcg@10", "ndcg@20", "recall@10", "recall@20")
HERE = Path(__file__).parent

Ranks = dict[str, float]


def main() -> None:
    """Run both sides with every seed, print a table, write ``--output``."""
    asked = _arguments()
    asked.work.mkdir(parents=True, exist_ok=True)
    work = asked.work.resolve()
    runs = {"recbole-nasr": [_ours(asked, seed, work) for seed in asked.seeds]}
    cases = _cases(runs["recbole-nasr"][0]["data"], work / f"{asked.dataset}.csv", runs["recbole-nasr"][0]["test"])
    runs["RecTools"] = [_theirs(asked, seed, cases, work) for seed in asked.rectools_seeds or asked.seeds]
    for variant in asked.variant:
        label, _, words = variant.partition(":")
        runs[label] = [_ours(asked, seed, work, words.split()) for seed in asked.seeds]
    import torch

    sides = {side: _summary(found, runs["RecTools"]) for side, found in runs.items()}
    variants = {side: _against(runs[side], runs["recbole-nasr"]) for side in list(runs)[2:]}
    content = {
        "settings": {
            key: value
            for key, value in vars(asked).items()
            if key not in ("rectools_python", "output", "data_path", "work")
        },
        "processor": device_name(torch.device("cpu")),
        "versions": versions(),
        "sides": sides,
        "variants": variants,
    }
    sys.stdout.write(_table(sides) + "\n")
    for side, found in variants.items():
        sys.stdout.write(f"{side} against recbole-nasr: " + ", ".join(map(_difference, found.items())) + "\n")
    if asked.output:
        asked.output.parent.mkdir(parents=True, exist_ok=True)
        asked.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rectools-python", required=True, help="Python that has rectools[torch]")
    parser.add_argument("--dataset", default="ml")
    parser.add_argument("--data-path", default="", help="folder of an atomic file, as RecBole's data_path")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2020, 2021, 2022])
    parser.add_argument("--rectools-seeds", type=int, nargs="+", help="of RecTools, where they are not the same")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--length", type=int, default=30)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=4, choices=(4, 8))
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--eval-step", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128, help="of RecTools, whose default it is")
    parser.add_argument("--dropout", type=float, default=0.2, help="of RecTools, whose default it is")
    parser.add_argument("--variant", action="append", default=[], help="'LABEL:--key=value …': our side once more, so")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/known"), help="what has finished there is not run again"
    )
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def _ours(asked: argparse.Namespace, seed: int, work: Path, further: Sequence[str] = ()) -> dict[str, Any]:
    """Train our SASRec by the command line, as a user would, unless that is done; read what it wrote."""
    words = [
        f"--dataset={asked.dataset}",
        "--model=NASR",
        f"--architecture=sasrec-{asked.heads // 4}",
        f"--n_layers={asked.layers}",
        "--n_blocks=1",
        f"--hidden_size={asked.width}",
        f"--MAX_ITEM_LIST_LENGTH={asked.length}",
        f"--epochs={asked.epochs}",
        f"--eval_step={asked.eval_step}",
        f"--stopping_step={asked.epochs}",
        f"--seed={seed}",
        "--device=cpu",
        *([f"--data_path={asked.data_path}"] if asked.data_path else []),
        *further,
    ]
    folder = work / f"recbole-nasr-{_name_of(words)}"
    if not list(folder.rglob("metrics.json")):
        program = [sys.executable, str(HERE.parents[1] / "run_nasr.py"), *words, f"--runs_dir={folder}"]
        subprocess.run(program, check=True, stdout=subprocess.DEVNULL)
    run = next(path.parent for path in folder.rglob("metrics.json"))
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    with gzip.open(run / "ranks.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        "seed": seed,
        "epoch": metrics["best_epoch"],
        "n_parameters": metrics["n_parameters"],
        "seconds": facts["seconds"]["training"],
        "valid": metrics["valid"]["ndcg@20"],
        "ranks": {row["sequence"]: float(row["rank"]) for row in rows},
        "test": {row["sequence"]: row["target"] for row in rows},
        "data": _data_file(run, asked.dataset),
    }


def _name_of(words: Sequence[str]) -> str:
    """Return a name for what ran with these words."""
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:12]


def _data_file(run: Path, dataset: str) -> Path:
    for line in (run / "config.yaml").read_text(encoding="utf-8").splitlines():
        if line.startswith("data_path:"):
            return Path(line.partition(":")[2].strip().strip("'\"")) / f"{dataset}.inter"
    msg = f"There is no data_path in {run / 'config.yaml'}."
    raise SystemExit(msg)


def _cases(inter: Path, path: Path, ours: Mapping[str, str]) -> Path:
    """Split the atomic file by leaving the last two items of every sequence out; check that our run had these cases."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("user_id", "item_id", "position", "part"))
        for name, items in histories(inter).items():
            parts = ["train"] * (len(items) - 2) + ["valid", "test"]
            writer.writerows((name, *rest) for rest in zip(items, range(len(items)), parts, strict=True))
            if ours.get(name) != items[-1]:
                msg = f"The sides would not be tested on the same cases: sequence {name} ends in {items[-1]}."
                raise SystemExit(msg)
    return path


def _theirs(asked: argparse.Namespace, seed: int, cases: Path, work: Path) -> dict[str, Any]:
    """Train RecTools' SASRec in its own interpreter; choose its epoch by validation."""
    given = {
        "width": asked.width,
        "length": asked.length,
        "blocks": asked.layers,
        "heads": asked.heads,
        "batch": asked.batch,
        "epochs": asked.epochs,
        "eval-step": asked.eval_step,
        "seed": seed,
        "dropout": asked.dropout,
    }
    words = [f"--{key}={value}" for key, value in given.items()]
    output = work / f"rectools-{_name_of([*words, asked.dataset])}.json"
    if not output.is_file():
        files = (f"--cases={cases}", f"--output={output}")
        command = [asked.rectools_python, str(HERE / "rectools_sasrec.py"), *words, *files]
        subprocess.run(command, check=True, cwd=work)
    content = json.loads(output.read_text(encoding="utf-8"))
    scores = [_mean(epoch["ranks"]["valid"], "ndcg@20") for epoch in content["epochs"]]
    best = int(np.argmax(scores))
    return {
        "seed": seed,
        "epoch": content["epochs"][best]["epoch"],
        "n_parameters": content["n_parameters"],
        "seconds": content["seconds"],
        "valid": scores[best],
        "ranks": content["epochs"][best]["ranks"]["test"],
        "versions": content["versions"],
    }


def _mean(ranks: Ranks, metric: str) -> float:
    return float(metric_per_case(list(ranks.values()), metric).mean())


def _per_case(runs: Sequence[Mapping[str, Any]], metric: str) -> npt.NDArray[np.float64]:
    names = sorted(runs[0]["ranks"])
    cases = [metric_per_case([run["ranks"][name] for name in names], metric) for run in runs]
    return np.asarray(np.mean(cases, axis=0))


def _summary(runs: Sequence[Mapping[str, Any]], reference: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "runs": [
            {
                **{key: run[key] for key in ("seed", "epoch", "n_parameters", "seconds", "valid")},
                "test": {metric: _mean(run["ranks"], metric) for metric in METRICS},
            }
            for run in runs
        ]
    }
    if "versions" in runs[0]:
        found["versions"] = runs[0]["versions"]
    for metric in METRICS:
        values = [run["test"][metric] for run in found["runs"]]
        found[metric] = {
            "mean": float(np.mean(values)),
            "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        }
    for metric, difference in _against(runs, reference).items():
        found[metric].update(difference)
    return found


def _against(runs: Sequence[Mapping[str, Any]], reference: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return by how much the mean of each metric is above that of ``reference``, and the interval over cases."""
    found = {}
    for metric in METRICS:
        ours, theirs = _per_case(runs, metric), _per_case(reference, metric)
        base = float(theirs.mean())
        interval = paired_comparison(ours, theirs, n_bootstrap=2000).interval
        found[metric] = {
            "relative": float(ours.mean()) / base - 1,
            "relative_interval": [bound / base for bound in interval],
        }
    return found


def _difference(named: tuple[str, Mapping[str, Any]]) -> str:
    metric, found = named
    low, high = found["relative_interval"]
    return f"{metric} {found['relative']:+.1%} [{low:+.1%}, {high:+.1%}]"


def _table(sides: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [f"{'':28}" + "".join(f"{metric:>18}" for metric in METRICS) + "   NDCG@20 against RecTools"]
    for side, found in sides.items():
        cells = (f"{found[metric]['mean']:.4f} ± {found[metric]['sd'] or float('nan'):.4f}" for metric in METRICS)
        low, high = found["ndcg@20"]["relative_interval"]
        relative = f"   {found['ndcg@20']['relative']:+.1%} [{low:+.1%}, {high:+.1%}]"
        lines.append(f"{side:28}" + "".join(f"{cell:>18}" for cell in cells) + relative)
    return "\n".join(lines)


if __name__ == "__main__":
    main()

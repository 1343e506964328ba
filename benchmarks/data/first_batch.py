"""From a prepared folder to the first training batch, as a training run does it; prints where the time went, as JSON.

``python -m benchmarks.data.first_batch NASR ml --data_path=DIR --ml_release=25m --source=FILE``

``NASR`` builds our data set class, ``SASRec`` RecBole's own `SequentialDataset`; both read the same prepared folder.
Keys are RecBole's.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import recbole_nasr  # noqa: F401  # before RecBole: repairs it

T = TypeVar("T")


def main() -> None:
    """Build the data set that the command line names and draw one batch."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.data.dataset import SequentialDataset
    from recbole.utils import init_seed

    from recbole_nasr.machine import peak_memory

    seconds: dict[str, float] = {}

    def timed(stage: str, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = work()
        seconds[stage] = round(time.perf_counter() - start, 3)
        return result

    model, name = sys.argv[1:3]
    keys: dict[str, Any] = {"train_neg_sample_args": None, "state": "ERROR", "gpu_id": ""}
    config = timed("configuration", lambda: Config(model, name, config_dict=keys))
    init_seed(config["seed"], config["reproducibility"])
    make = create_dataset if model == "NASR" else SequentialDataset
    dataset = timed("reading", lambda: make(config))
    train, _, _ = timed("splitting", lambda: data_preparation(config, dataset))
    batch = timed("first batch", lambda: next(iter(train)))
    counts = {"interactions": dataset.inter_num, "users": dataset.user_num - 1, "items": dataset.item_num - 1}
    result = {"seconds": seconds, "peak_bytes": peak_memory(), "batch_rows": len(batch), **counts}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()

"""One run, from configuration to test metrics: RecBole's own steps in the order of `run_recbole`.

Seeds and metrics are those of `run_recbole` too. Left out are its FLOPs count and its table of the environment;
nothing is written outside the run folder. What a person wants to see meanwhile goes through the logger
``recbole_nasr``.
"""

from __future__ import annotations

import logging
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from recbole.config import Config
from recbole.utils import get_model, get_trainer, init_seed
from torch import Tensor

from recbole_nasr.candidate_files import save_candidates
from recbole_nasr.configuration import MODELS, effective
from recbole_nasr.data.vocabulary import Vocabulary
from recbole_nasr.determinism import be_deterministic, explained_refusals
from recbole_nasr.distributed import from_first, world_size
from recbole_nasr.epochs import EpochLines, stages_of
from recbole_nasr.errors import ConfigError, MemoryLimitError, NumericalError
from recbole_nasr.isolation import isolated_run
from recbole_nasr.keeping import Keeper, packed, unpacked
from recbole_nasr.launch import process_settings
from recbole_nasr.machine import device_name
from recbole_nasr.nets.memory import ran_out
from recbole_nasr.results import RunResult, save_items, save_ranks, save_result
from recbole_nasr.run_data import load_data, preparation_text, refusals
from recbole_nasr.runs import RunFolder, RunRecord
from recbole_nasr.settings_file import settings_text
from recbole_nasr.trackers import Tracker, tracked
from recbole_nasr.trainer.kept import KeptFit
from recbole_nasr.trainer.ranks import full_ranks

_LOG = logging.getLogger("recbole_nasr")

CHECKPOINT = "model.pth"


def run_model(
    model: str,
    dataset: str,
    config_files: Sequence[Path | str],
    folder: RunFolder,
    *,
    command: Sequence[str] = (),
    label: str = "",
    on_validation: Callable[[int, float], None] | None = None,
    on_result: Callable[[RunResult], None] | None = None,
    keeper: Keeper | None = None,
    key: str = "",
) -> RunResult:
    """Train ``model``, test it once, and write everything into ``folder``.

    Args:
        model: A name that RecBole knows, ours included.
        dataset: A name that RecBole knows, or a prepared one of ours.
        config_files: YAML files, later ones first in rank.
        folder: A fresh run folder.
        command: The command line to write down.
        label: What the run is called beside others, where the name of the model is not enough.
        on_validation: Called after each validated epoch with its index and score; may raise
            :class:`~recbole_nasr.errors.StoppedError` to end the run.
        on_result: Called with the result before the run counts as finished.
        keeper: Saves the state of the run, and has the one to go on from: the result is that of a run without
            interruption, on a CPU to the last bit.
        key: From :func:`recbole_nasr.identity.run_key`, to be found by.

    Raises:
        DataError: If the data are too small to have training, validation and test cases.
    """
    keeper = keeper or Keeper()
    if world_size() > 1:
        keeper.hand(unpacked(from_first(packed(keeper.found()))))
    record = RunRecord(folder, model, dataset, command, seconds=keeper.take("seconds") or {})
    record.facts.update({"key": key} if key else {})
    with record.running(), isolated_run(folder.path):
        config = Config(model, dataset, [str(path) for path in config_files], process_settings() or None)
        config["checkpoint_dir"] = str(folder.path)
        in_force = effective(config)
        folder.write_text("config.yaml", settings_text(in_force))
        record.facts.update(
            seed=config["seed"],
            processes=world_size(),
            device=str(config["device"]),
            device_name=device_name(config["device"]),
            **({"label": label} if label else {}),
        )
        with tracked(config, in_force, folder.path) as tracker, _last_state_named(keeper):
            result = replace(_run(config, record, keeper, tracker, on_validation), label=label)
            save_result(result)
            tracker.metrics({f"test_{name}": value for name, value in result.test.items()})
            tracker.search(result.search.blocks if result.search is not None else ())
            if on_result is not None:
                on_result(result)
            tracker.files(folder.path)
        record.facts["saving"] = {"states": keeper.n_saved, "seconds": keeper.seconds}
    keeper.done()
    return result


def _run(
    config: Config,
    record: RunRecord,
    keeper: Keeper,
    tracker: Tracker,
    on_validation: Callable[[int, float], None] | None,
) -> RunResult:
    init_seed(config["seed"], config["reproducibility"])
    if config["reproducibility"]:
        be_deterministic(config["device"], strict=config["model"] in MODELS)
    with record.stage("data"):
        counts, loaders = load_data(config)
    _LOG.info(
        "data: %s sequences, %s items, %s actions; %s training rows, %s validation and %s test cases",
        *(f"{number:,}" for number in astuple(counts)),
    )
    train_data, _, test_data = loaders
    save_items(record.folder, Vocabulary.of(test_data.dataset))
    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    with refusals(ConfigError, f"{config['model']} cannot be built"):
        network = get_model(config["model"])(config, train_data.dataset).to(config["device"])
    logging.getLogger().info(network)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, network)
    trainer.saved_model_file = from_first(str(record.folder.path / CHECKPOINT))
    bars = bool(sys.stderr.isatty() and config["show_progress"])
    epochs = EpochLines(trainer, config, tracker.epochs(trainer, config["valid_metric"], on_validation))
    epochs.time_epochs()
    with keeper.part("seconds", record.elapsed), record.stage("training"):
        try:
            with explained_refusals():
                valid = KeptFit(trainer, loaders, keeper, epochs).run(show_progress=bars, callback_fn=epochs)
        finally:  # what was trained before an interruption is kept
            if getattr(trainer, "trained", None):
                save_candidates(record.folder, trainer.trained)
    with record.stage("test"):
        test = trainer.evaluate(test_data, show_progress=bars)
        for name, value in _numbers(test).items():
            trainer.tensorboard.add_scalar(f"test/{name}", value, epochs.best_epoch)
        _keep_ranks(config, trainer, test_data, record.folder)
    _note_stages(record, trainer)
    record.facts["estimated_memory_bytes"] = dict(getattr(trainer, "needs", {}))
    step_seconds = statistics.median(epochs.seconds or [0.0]) / len(train_data)
    record.facts["step_seconds"] = step_seconds
    return RunResult(
        model=config["model"],
        dataset=config["dataset"],
        folder=record.folder,
        seed=config["seed"],
        data=counts,
        step_seconds=step_seconds,
        preparation=preparation_text(Path(config["data_path"])),
        valid=_numbers(valid),
        test=_numbers(test),
        epochs=len(trainer.train_loss_dict),
        best_epoch=epochs.best_epoch,
        seconds=dict(record.seconds),
        n_parameters=sum(weight.numel() for weight in trainer.model.parameters() if weight.requires_grad),
        masks_history=bool(config["mask_history"]),
        architecture=getattr(trainer.model, "architecture", None),
        search=getattr(trainer, "search_result", None),
        costs=getattr(trainer, "costs", None),
        verification=getattr(trainer, "verification", None),
        latency_ms=getattr(trainer, "latency_ms", 0.0),
        device=record.facts["device_name"],
    )


@contextmanager
def _last_state_named(keeper: Keeper) -> Iterator[None]:
    """Say with an error in the numbers from where the run could go on, such as with another version of torch.

    What nobody else has made smaller, such as a step of RecBole's own models, ends in one line where memory runs out.
    """
    try:
        yield
    except RuntimeError as error:
        if not ran_out(error):
            raise
        kept = keeper.describe()
        msg = f"The run does not fit into memory; lower `train_batch_size`, `eval_batch_size` or the model. {kept}"
        raise MemoryLimitError(msg.strip()) from error
    except NumericalError as error:
        kept = keeper.describe()
        if not kept:
            raise
        msg = f"{error} {kept}"
        raise NumericalError(msg) from error


def _note_stages(record: RunRecord, trainer: Any) -> None:
    """Take what preceded the first epoch out of the training time, and put it where it belongs in the order."""
    stages = stages_of(trainer)
    record.seconds["training"] -= sum(stages.values())
    record.seconds = {"data": record.seconds.pop("data"), **stages, **record.seconds}


def _keep_ranks(config: Config, trainer: Any, test_data: Any, folder: RunFolder) -> None:
    """Write the rank of every test case; sampled evaluation has none."""
    if config["eval_args"]["mode"]["test"] != "full":
        return
    ranks: Tensor | None = getattr(trainer, "last_ranks", None)  # of our trainers
    if ranks is None:
        ranks = full_ranks(trainer.model, test_data, device=config["device"])
    dataset = test_data.dataset
    sequences, targets = (
        # As an array: RecBole would take a tensor with one element for a number.
        dataset.id2token(field, dataset.inter_feat[field].numpy()).tolist()
        for field in (dataset.uid_field, dataset.iid_field)
    )
    save_ranks(folder, sequences, targets, ranks)


def _numbers(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    return {name: float(value) for name, value in (metrics or {}).items()}

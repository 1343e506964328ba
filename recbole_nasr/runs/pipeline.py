"""One run, from configuration to test metrics: RecBole's own steps in the order of `run_recbole`.

Seeds and metrics are those of `run_recbole` too. Its count of FLOPs and its table of the environment are left out, and
nothing is written outside the run folder. Progress is reported through the logger ``recbole_nasr``.
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

from recbole_nasr.compat.isolation import isolated_run
from recbole_nasr.configuration.files import settings_text
from recbole_nasr.configuration.values import MODELS, effective
from recbole_nasr.data.vocabulary import Vocabulary
from recbole_nasr.determinism import be_deterministic, explained_refusals
from recbole_nasr.distributed import from_first, world_size
from recbole_nasr.errors import MemoryLimitError, NASRError, NumericalError
from recbole_nasr.keeping import Keeper, packed, unpacked
from recbole_nasr.machine import device_name
from recbole_nasr.nets.memory import ran_out
from recbole_nasr.processes.launch import process_settings
from recbole_nasr.runs.candidates import save_candidates
from recbole_nasr.runs.data import load_data, preparation_text
from recbole_nasr.runs.epochs import EpochLines
from recbole_nasr.runs.folder import RunFolder, RunRecord
from recbole_nasr.runs.model_errors import explained_model_errors
from recbole_nasr.runs.results import RunResult, save_items, save_ranks, save_result
from recbole_nasr.runs.trackers import Tracker, tracked
from recbole_nasr.stages import StageClock
from recbole_nasr.trainer.kept import KeptFit
from recbole_nasr.trainer.ranks import ranks_of_test

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
        key: From :func:`recbole_nasr.runs.identity.run_key`, to be found by.

    Raises:
        DataError: If the data are too small to have training, validation and test cases.
        ModelError: If one of RecBole's own models ends in an error of its own.
    """
    keeper = keeper or Keeper()
    if world_size() > 1:
        keeper.hand(unpacked(from_first(packed(keeper.found()))))
    record = RunRecord(folder, model, dataset, command, clock=StageClock(keeper.take("seconds")))
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
    """Load the data, build the network, train and test it: the steps of `run_recbole`, with its seeds."""
    init_seed(config["seed"], config["reproducibility"])
    if config["reproducibility"]:
        be_deterministic(config["device"], strict=config["model"] in MODELS)
    with record.clock.stage("data"):
        counts, loaders = load_data(config)
    _LOG.info(
        "data: %s sequences, %s items, %s actions; %s training rows, %s validation and %s test cases",
        *(f"{number:,}" for number in astuple(counts)),
    )
    train_data, _, test_data = loaders
    save_items(record.folder, Vocabulary.of(test_data.dataset))
    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    trainer = _build_trainer(config, train_data.dataset, record.folder)
    epochs = EpochLines(trainer, config, tracker.epochs(trainer, config["valid_metric"], on_validation))
    epochs.time_epochs()
    bars = bool(sys.stderr.isatty() and config["show_progress"])
    valid = _train(trainer, loaders, epochs, record, keeper, show_progress=bars)
    test = _test(trainer, test_data, epochs, record, show_progress=bars)
    _move_stages_before_training(record, trainer)
    record.facts["estimated_memory_bytes"] = dict(getattr(trainer, "needs", {}))
    record.facts["step_seconds"] = statistics.median(epochs.seconds or [0.0]) / len(train_data)
    return _result(config, record, trainer, data=counts, valid=valid, test=test, best_epoch=epochs.best_epoch)


def _build_trainer(config: Config, train_dataset: Any, folder: RunFolder) -> Any:
    """Return RecBole's or our trainer of a new network, which saves its best weights in ``folder``."""
    with explained_model_errors(config, folder.path, "built"):
        network = get_model(config["model"])(config, train_dataset).to(config["device"])
        logging.getLogger().info(network)
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, network)
    trainer.saved_model_file = from_first(str(folder.path / CHECKPOINT))
    return trainer


def _train(
    trainer: Any, loaders: Sequence[Any], epochs: EpochLines, record: RunRecord, keeper: Keeper, *, show_progress: bool
) -> dict[str, float]:
    """Train, going on from the state that ``keeper`` has; return the validation metrics of the best epoch."""
    with keeper.part("seconds", record.clock.elapsed), record.clock.stage("training"):
        try:
            with explained_model_errors(trainer.config, record.folder.path, "trained"), explained_refusals():
                fit = KeptFit(trainer, loaders, keeper, epochs)
                return _numbers(fit.run(show_progress=show_progress, callback_fn=epochs))
        finally:  # what was trained before an interruption is kept
            if getattr(trainer, "trained", None):
                save_candidates(record.folder, trainer.trained)


def _test(
    trainer: Any, test_data: Any, epochs: EpochLines, record: RunRecord, *, show_progress: bool
) -> dict[str, float]:
    """Evaluate the weights of the best epoch on the test cases, once; return the metrics and save the ranks."""
    with explained_model_errors(trainer.config, record.folder.path, "tested"):
        with record.clock.stage("test"):
            test = _numbers(trainer.evaluate(test_data, show_progress=show_progress))
            for name, value in test.items():
                trainer.tensorboard.add_scalar(f"test/{name}", value, epochs.best_epoch)
        _save_test_ranks(trainer, test_data, record.folder)  # RecBole's models rank again, in no time of the test
    return test


def _result(config: Config, record: RunRecord, trainer: Any, **found: Any) -> RunResult:
    """Return the result of a run; ``found`` are its fields that neither record nor trainer know."""
    return RunResult(
        model=config["model"],
        dataset=config["dataset"],
        folder=record.folder,
        seed=config["seed"],
        step_seconds=record.facts["step_seconds"],
        preparation=preparation_text(Path(config["data_path"])),
        epochs=len(trainer.train_loss_dict),
        seconds=dict(record.clock.seconds),
        n_parameters=sum(weight.numel() for weight in trainer.model.parameters() if weight.requires_grad),
        masks_history=bool(config["mask_history"]),
        ranked_among=str(config["eval_args"]["mode"]["test"]),
        architecture=getattr(trainer.model, "architecture", None),
        search=getattr(trainer, "search_result", None),
        costs=getattr(trainer, "costs", None),
        verification=getattr(trainer, "verification", None),
        latency_ms=getattr(trainer, "latency_ms", 0.0),
        device=record.facts["device_name"],
        valid_metric=config["valid_metric"].lower(),
        **found,
    )


@contextmanager
def _last_state_named(keeper: Keeper) -> Iterator[None]:
    """Add to an error in the numbers, or in memory, which saved state the run could go on from.

    Our own steps take fewer rows when memory runs out; those of RecBole's models do not, and end here in one line.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, NASRError) or not ran_out(error):
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


def _move_stages_before_training(record: RunRecord, trainer: Any) -> None:
    """Take what preceded the first epoch, such as a search, out of the training time; list it before the training."""
    stages, seconds = dict(getattr(trainer, "stage_seconds", {})), record.clock.seconds
    seconds["training"] -= sum(stages.values())
    record.clock.seconds = {"data": seconds.pop("data"), **stages, **seconds}


def _save_test_ranks(trainer: Any, test_data: Any, folder: RunFolder) -> None:
    """Write the rank of every test case, where there are ranks."""
    ranks = ranks_of_test(trainer, test_data)
    if ranks is None:
        return
    dataset = test_data.dataset
    sequences, targets = (
        # As an array: RecBole would take a tensor with one element for a number.
        dataset.id2token(field, dataset.inter_feat[field].numpy()).tolist()
        for field in (dataset.uid_field, dataset.iid_field)
    )
    save_ranks(folder, sequences, targets, ranks)


def _numbers(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    return {name: float(value) for name, value in (metrics or {}).items()}

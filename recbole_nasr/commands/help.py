"""The text of ``--help``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from recbole_nasr.configuration.resources import available
from recbole_nasr.machine import versions
from recbole_nasr.model.preset_names import PRESETS
from recbole_nasr.request.defaults import quick_settings

_TEXT = """\
Search a deep network of self-attention and convolution layers for your data, retrain it, and
compare it with the sequential models of RecBole.

usage: python run_nasr.py --model=NAME[,NAME...] --dataset=NAME [--key=value ...]

Start with --quick; its last screen suggests the next commands.

  python run_nasr.py --model=NASRSearch --dataset=ml               search, retrain, evaluate
  python run_nasr.py --model=SASRec,NextItNet,NASR --dataset=ml    compare; one table
  python run_nasr.py --model=NASR --architecture=sasrec-1 --dataset=ml
                                                                   train a given architecture
  python run_nasr.py --model=NASRSearch --dataset=ml --quick       a first look, in a minute or two
  python run_nasr.py --study=table2 --dataset=ml                   an experiment of the paper
  python run_nasr.py --recommend=RUN --items="318,858" --k=10      recommend with a finished run

What to run
  --model         NASRSearch: search an architecture, then train and test it;
                  NASR: train and test one architecture, see --architecture;
                  or any sequential model of RecBole: SASRec, GRU4Rec, NextItNet, ...
                  Several names with commas run one after the other and share one table.
  --dataset       {datasets}, a name that RecBole can download, or your own
                  <data_path>/<name>/<name>.inter (--data_path=dataset/ unless you say so).
                  ml is MovieLens and lastfm Last.FM as in the paper: histories cut into windows,
                  each of them a test case. ml-100k is RecBole's own, one history per user:
                  results on ml and ml-100k do not compare.
  --ml_release    for ml: 100k (the default, offline), 1m, 10m, 20m, 25m, 32m, latest or
                  latest-small; read from data_path, or else downloaded
  --source        the original file, folder or archive of ml or lastfm, or your own file
                  (csv, tsv, parquet, inter) for --dataset=ANY_NAME; docs/data.md has the keys
  --prepare       prepare the data, report on them and stop; needs no --model
  --architecture  for NASR: the folder of an earlier run, a file architecture.json, a preset
{presets},
                  or operation names, "," between layers and "/" between blocks:
                  transformer_h4,tcn_d1_2/tcn_d1_4 is self-attention with 4 heads, then convolutions
                  of dilations 1 and 2; the next block has dilations 1 and 4.
                  python -m recbole_nasr.ops lists all operations.
  --config_files  YAML files of settings, "a.yaml b.yaml"; later files override earlier ones,
                  and the command line overrides them all
  --quick         small settings, for a first look and not a result:
{quick}
  --study         an experiment of the paper instead of a model (docs/studies.md):
{studies};
                  the same command continues a study, also in several processes;
                  --seeds=[1,2] --n_trials=20 --time_budget=2h --storage=URL --results=FOLDER
                  --target=DATASET (transfer) --space={{...}} --pruner=median (tune)
                  --n_architectures=24 --search_seeds=[1,2] (fidelity) --n_trainings=3 (searches)
  --device        auto (a GPU if there is one), cpu or cuda; --gpu_id=1 selects a GPU

Where results go
  --runs_dir      where runs are written, runs/ by default. Each run has a folder
                  <runs_dir>/<dataset>/<time>-<model>/ with report.md (begin there), settings,
                  metrics, ranks, checkpoint, architecture, every score of the search and
                  TensorBoard events. Nothing is ever overwritten.
  --run_name      added to the name of the folder
  --fresh         start over. Without it, the same command continues an unfinished run, even after
                  kill -9 (docs/reliability.md); --checkpoint_interval=30 is the number of seconds
                  between saved states

Settings are RecBole's keys and ours. Values are numbers, lists, true, false, null (empty) or text;
none is run as code. A key that nothing reads is an error that names the nearest one. In a
comparison a key goes to every model that reads it, and --SASRec.epochs=5 to that model only.
  training        epochs, learning_rate, train_batch_size, stopping_step, eval_step, seed
  evaluation      metrics, topk, valid_metric, eval_batch_size, eval_args
  data            ml, lastfm and --source: window_length, min_item_interactions, split_by, ...
                  (all in docs/configuration.md); any data set: MAX_ITEM_LIST_LENGTH, load_col,
                  user_inter_num_interval, item_inter_num_interval
  network         hidden_size, n_layers, ...: all in properties/model/NASR.yaml; beside
                  --architecture=RUN, --n_layers=32 stretches it and --hidden_size=128 widens it
  search          search_preset (next_item unless you say so):
{searches};
                  search_space: {spaces};
                  search_verify=3: train the best candidates and networks of a single operation,
                  and take the one that validates best;
                  max_parameters, max_flops, max_latency_ms: limits on the network;
                  n_blocks, search_epochs, ...: all in properties/model/NASRSearch.yaml
  own operations  ops_module: a Python file that registers them (docs/operations.md)
  trackers        TensorBoard events are always written; --log_wandb=True --wandb_project=NAME,
                  --log_mlflow=True --mlflow_experiment=NAME

Using finished runs (docs/using.md)
  --list          list all runs with their results; --runs_dir, --dataset
  --compare RUN RUN
                  compare two or more runs: paired tests and intervals from their saved ranks
  --recommend=RUN recommend the --k=10 best next items. The history is --user=ID of the run's data,
                  --items="318,858" (any history; an id with a comma in double quotes), or
                  --input=histories.csv --output=top.parquet (millions). Items of the history are
                  left out unless --exclude_seen=false.
  --export=torch|onnx --run=RUN
                  write the network as a file for a server, checked and timed; --k, --output=DIR
                  Both need --ops_module=FILE again where the run has operations of your own.

Several processes: torchrun --nproc_per_node=2 run_nasr.py ... (docs/distributed.md);
a process that hangs for --lost_after=20 seconds ends the others.

If something does not work: python -m recbole_nasr.doctor checks the installation.

  --help, --version
"""


def help_text() -> str:
    """Return what ``--help`` shows; presets and data sets are those that are shipped."""
    return _TEXT.format(
        datasets=", ".join(dict.fromkeys([*available("dataset_configs"), "ml-100k"])),
        presets=_indented(PRESETS),
        studies=_indented(available("properties/study")),
        spaces=", ".join(available("properties/space")),
        searches=_indented(available("properties/search")),
        quick=_indented(f"{key}={value}" for key, value in quick_settings("NASRSearch").items()),
    ).rstrip()


def version_text() -> str:
    """Return what ``--version`` shows, in one line."""
    return "  ".join(f"{package} {version}" for package, version in versions().items())


def _indented(words: Iterable[str]) -> str:
    """Return the words as a list in the right-hand column."""
    indent = " " * 18
    return textwrap.fill(", ".join(words), 96, initial_indent=indent, subsequent_indent=indent)

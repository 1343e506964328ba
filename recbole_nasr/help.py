"""The text of ``--help``."""

from __future__ import annotations

import textwrap

from recbole_nasr.defaults import quick_settings
from recbole_nasr.model.presets import PRESETS
from recbole_nasr.resources import available

_TEXT = """\
Search a deep hybrid of self-attention and convolution for your data, retrain it, and compare it
with the sequential models of RecBole.

usage: python run_nasr.py --model=NAME[,NAME...] --dataset=NAME [--key=value ...]

Begin with --quick: its last screen names the next commands.

  python run_nasr.py --model=NASRSearch --dataset=ml               search, retrain, evaluate
  python run_nasr.py --model=SASRec,NextItNet,NASR --dataset=ml    compare; one table
  python run_nasr.py --model=NASR --architecture=sasrec-1 --dataset=ml
                                                                   train a given architecture
  python run_nasr.py --model=NASRSearch --dataset=ml --quick       a first look in two minutes
  python run_nasr.py --study=table2 --dataset=ml                   an experiment of the paper
  python run_nasr.py --recommend=RUN --items="318,858" --k=10      recommend with a finished run

What to run
  --model         NASRSearch (searches, then trains what it found), NASR (a given architecture),
                  or any sequential model of RecBole: SASRec, GRU4Rec, NextItNet, ...;
                  several with commas, one after the other
  --dataset       {datasets}, a name that RecBole can download, or your own
                  <data_path>/<name>/<name>.inter (--data_path=dataset/ unless you say so)
  --ml_release    for ml: 100k, 1m, 10m, 20m, 25m, 32m, latest or latest-small; found in data_path,
                  else downloaded
  --source        the original file, folder or archive of ml or lastfm, or a file of your own
                  (csv, tsv, parquet, inter) for --dataset=ANY_NAME; docs/data.md has the keys
  --prepare       stop after the preparation of the data and its report; needs no --model
  --architecture  for NASR: the folder of an earlier run, or a file architecture.json; a preset
{presets};
                  or operation names, "," between layers and "/" between blocks:
                  transformer_h4,tcn_d1_2/tcn_d1_4
  --config_files  YAML files of settings, "a.yaml b.yaml"; later files outrank earlier ones,
                  the command line outranks them all
  --quick         small settings, not a result:
{quick}
  --study         an experiment of the paper instead of a model (docs/studies.md):
{studies};
                  the same command goes on where the last one stopped, also in several processes;
                  --seeds=[1,2] --n_trials=20 --time_budget=2h --storage=URL --results=FOLDER
                  --target=DATASET (transfer) --space={{...}} --pruner=median (tune)
                  --n_architectures=24 --search_seeds=[1,2] (fidelity) --n_trainings=3 (searches)
  --device        auto (a GPU where there is one), cpu or cuda; a certain card with --gpu_id=1

Where results go
  --runs_dir      runs/<dataset>/<time>-<model>/ holds configuration, metrics, ranks, checkpoint,
                  architecture, every score of the search, TensorBoard events and report.md;
                  nothing is ever overwritten
  --run_name      added to the folder's name
  --fresh         start over. Without it the same command goes on with the run that it has left
                  unfinished, also after kill -9, and ends as if nothing had happened
                  (docs/reliability.md); --checkpoint_interval=30 seconds between saved states

Settings: RecBole's keys and ours. Values are numbers, lists, true, false or text; nothing is
evaluated. A key that nothing reads is an error that names the nearest one. In a comparison a key
goes to every model that reads it, --SASRec.epochs=5 to one.
  training        epochs, learning_rate, train_batch_size, stopping_step, eval_step, seed
  evaluation      metrics, topk, valid_metric, eval_batch_size, eval_args
  data            window_length, min_item_interactions, split_by, ...: all in dataset_configs/
                  MAX_ITEM_LIST_LENGTH, load_col, user_inter_num_interval, item_inter_num_interval
  network         hidden_size, n_layers, ...: all in properties/model/NASR.yaml; beside
                  --architecture=RUN, --n_layers=32 stretches it and --hidden_size=128 widens it
  search          search_preset:
{searches};
                  search_space: {spaces};
                  search_verify=3: train its best and the pure networks, take what validates best;
                  max_parameters, max_flops, max_latency_ms: what the network may cost;
                  n_blocks, search_epochs, ...: all in properties/model/NASRSearch.yaml
  own operations  ops_module: a Python file that registers them (docs/operations.md)
  trackers        TensorBoard events are always written; --log_wandb=True --wandb_project=NAME,
                  --log_mlflow=True --mlflow_experiment=NAME

Using finished runs (docs/using.md)
  --list          all runs with their results; --runs_dir, --dataset
  --compare RUN RUN
                  paired tests and intervals from the saved ranks of two or more runs
  --recommend=RUN the --k=10 best next items, seen ones left out unless --exclude_seen=false:
                  --user=ID of the run's data, --items="318,858" for any history, or
                  --input=histories.csv --output=top.parquet for millions of them
  --export=torch|onnx --run=RUN
                  the network as a file for a server, checked and timed; --k, --output=DIR

Several processes: torchrun --nproc_per_node=2 run_nasr.py ... (docs/distributed.md);
--lost_after=20 seconds after which one that hangs ends the others

Is anything wrong with this installation? python -m recbole_nasr.doctor

  --help, --version
"""


def help_text() -> str:
    """Return what ``--help`` shows; presets and data sets are those that are shipped."""
    indent = " " * 18
    quick = ", ".join(f"{key}={value}" for key, value in quick_settings("NASRSearch").items())
    return _TEXT.format(
        datasets=", ".join(dict.fromkeys([*available("dataset_configs"), "ml-100k"])),
        presets=textwrap.fill(", ".join(PRESETS), 96, initial_indent=indent, subsequent_indent=indent),
        studies=textwrap.fill(
            ", ".join(available("properties/study")), 96, initial_indent=indent, subsequent_indent=indent
        ),
        spaces=", ".join(available("properties/space")),
        searches=textwrap.fill(
            ", ".join(available("properties/search")), 96, initial_indent=indent, subsequent_indent=indent
        ),
        quick=textwrap.fill(quick, 96, initial_indent=indent, subsequent_indent=indent),
    ).rstrip()

"""The commands that use finished runs: ``--recommend``, ``--export``, ``--list`` and ``--compare``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from recbole_nasr.alignment import aligned
from recbole_nasr.console import show
from recbole_nasr.errors import ConfigError, DataError, did_you_mean, on_or_off
from recbole_nasr.ops import load_operations
from recbole_nasr.progress import open_progress, plural
from recbole_nasr.request.arguments import COLUMN_KEYS, RUN_COMMANDS, expanded_name
from recbole_nasr.serving.export import export_run
from recbole_nasr.serving.files import HistoryFile
from recbole_nasr.serving.histories import Histories, named_items
from recbole_nasr.serving.output import check_output, open_table
from recbole_nasr.serving.recommender import Recommender, TopK, Unknown, load
from recbole_nasr.serving.tables import comparison_text, runs_text
from recbole_nasr.serving.users import user_history

SHOWN_ITEMS = 10
"""Of a history, the last ones on the screen."""


def is_command(line: Mapping[str, Any]) -> bool:
    """Return whether a command line uses finished runs instead of making one."""
    return any(name in line for name in RUN_COMMANDS)


def run_command(line: Mapping[str, Any]) -> None:
    """Run the command of ``line``, as :func:`recbole_nasr.request.arguments.parse_line` returns it.

    Raises:
        NASRError: For anything the user can put right.
    """
    asked = [name for name in RUN_COMMANDS if name in line]
    if len(asked) > 1:
        msg = f"One command at a time, but got {' and '.join(f'--{name}' for name in asked)}; drop one."
        raise ConfigError(msg)
    name = asked[0]
    for key in line:
        if key not in (name, *RUN_COMMANDS[name]):
            known = RUN_COMMANDS[name]
            others = f" It takes {', '.join(known)}." if known else ""
            msg = f"`--{key}` is not a key of --{name}.{did_you_mean(key, known) or others}"
            raise ConfigError(msg)
    if line.get("ops_module") is not None:
        load_operations(line["ops_module"])
    _COMMANDS[name](line)


def _recommend(line: Mapping[str, Any]) -> None:
    sources = [key for key in ("user", "items", "input") if key in line]
    if len(sources) != 1:
        msg = (
            "--recommend needs one of --user=ID (from the data of the run), --items=ID,ID,... (a new history) and "
            f"--input=FILE, but got {' and '.join(sources) or 'none'}."
        )
        raise ConfigError(msg)
    if sources == ["input"]:
        _recommend_file(line)
        return
    if unused := [key for key in ("output", *COLUMN_KEYS) if key in line]:
        msg = f"`--{unused[0]}` goes with --input=FILE, not with --{sources[0]}."
        raise ConfigError(msg)
    recommender, k, exclude_seen = _recommender(line)
    if sources == ["user"]:
        name, items = user_history(recommender.loaded, line["user"])
        show(f"user {name}: {_history_text(items, recommender)}")
    else:
        items = named_items(line["items"], recommender.vocabulary.knows)
        show(f"history: {_history_text(items, recommender)}")
    unknown = Unknown()
    top = recommender.top(Histories.of_lists([items]), k, exclude_seen=exclude_seen, unknown=unknown)
    _check_known(unknown, recommender, "--items")
    if unknown.text():
        show(unknown.text() + ".")
    show("\n" + _top_text(top))


def _check_known(unknown: Unknown, recommender: Recommender, where: str) -> None:
    """Refuse input without a single history that recommendations can be made for.

    Raises:
        DataError: If not one item of them is known.
    """
    if unknown.empty < unknown.histories:
        return
    got = ", ".join(map(repr, unknown.names)) + (", ..." if unknown.events > len(unknown.names) else "")
    known = ", ".join(map(repr, recommender.vocabulary.names[1:4].tolist()))
    msg = (
        f"A history needs an item that the run knows, but {where} has none (got {got or 'no item'}); items are named "
        f"by their ids in the data, such as {known}."
    )
    raise DataError(msg)


def _recommender(line: Mapping[str, Any]) -> tuple[Recommender, int, bool]:
    k, exclude_seen = line.get("k", 10), on_or_off("exclude_seen", line.get("exclude_seen", True))
    recommender = load(line["recommend"], str(line.get("device", "auto")))
    recommender.check_k(k)
    return recommender, k, exclude_seen


def _recommend_file(line: Mapping[str, Any]) -> None:
    if "output" not in line:
        msg = "--input needs --output=FILE.csv or FILE.parquet for the recommendations."
        raise ConfigError(msg)
    output = Path(line["output"])
    check_output(output)
    columns = {role: line.get(f"{role}_column") for role in ("user", "item", "time")}
    recommender, k, exclude_seen = _recommender(line)
    source = HistoryFile(Path(line["input"]), columns, recommender.own_names)
    if output.exists() and output.samefile(source.path):
        msg = f"--output is the file of histories itself, {output}, which would be replaced; name another file."
        raise ConfigError(msg)
    unknown, n_rows, n_served = Unknown(), 0, 0
    with open_table(output) as table, open_progress(source.size, "recommending", "") as progress:
        for histories, done in source.pieces():
            top = recommender.top(histories, k, exclude_seen=exclude_seen, unknown=unknown)
            frame = top.frame()
            table.add(frame)
            n_rows += len(frame)
            n_served += int((top.ids[:, 0] > 0).sum())
            progress.advance(done, histories=f"{unknown.histories:,}")
        _check_known(unknown, recommender, f"the column {source.item_column!r} of {source.path}")
    if unknown.text():
        show(unknown.text() + ".")
    n_full = unknown.histories - unknown.empty - n_served
    if n_full:
        show(
            f"with every item already, so nothing is left to recommend: {n_full:,} of {unknown.histories:,} histories."
        )
    served = f"{n_served:,} histor{'y' if n_served == 1 else 'ies'}"
    show(f"{n_rows:,} {plural(n_rows, 'recommendation')} for {served} written to {output}")


def _history_text(items: list[str], recommender: Recommender) -> str:
    titles, vocabulary = recommender.vocabulary.titles, recommender.vocabulary
    names = dict(zip(vocabulary.names, titles, strict=True)) if titles is not None else {}
    shown = [f"{item} {names[item]}" if names.get(item) else item for item in items[-SHOWN_ITEMS:]]
    before = f"the last {SHOWN_ITEMS} of {len(items)} items: " if len(items) > SHOWN_ITEMS else ""
    return before + "; ".join(shown)


def _top_text(top: TopK) -> str:
    frame = top.frame()
    if not len(frame):
        return "nothing to recommend."
    titles = "title" in frame
    rows = [
        [str(row.rank), row.item, f"{row.score:.4f}", *([row.title] if titles else [])]
        for row in frame.itertuples(index=False)
    ]
    return aligned([["rank", "item", "score", *(["title"] if titles else [])], *rows], left=(1, 3))


def _export(line: Mapping[str, Any]) -> None:
    if "run" not in line:
        msg = "--export needs --run=FOLDER, the run whose network is exported; see --list."
        raise ConfigError(msg)
    if "device" in line:
        msg = "`--device` is not for --export: the exported file runs where it is loaded. Drop it."
        raise ConfigError(msg)
    target = Path(line["output"]) if "output" in line else None
    exclude_seen = on_or_off("exclude_seen", line.get("exclude_seen", True))
    export_run(line["run"], str(line["export"]), target, k=line.get("k", 10), exclude_seen=exclude_seen, say=show)


def _list(line: Mapping[str, Any]) -> None:
    if line["list"] is not True:
        msg = (
            f"--list has no value, but is given {line['list']!r}; for the runs of one data set give --dataset=NAME too."
        )
        raise ConfigError(msg)
    show(runs_text(Path(str(line.get("runs_dir") or "runs")), str(line.get("dataset") or "")))


def _compare(line: Mapping[str, Any]) -> None:
    given = line["compare"]
    names = given if isinstance(given, list) else [given]
    if len(names) == 1 and not (names[0] and Path(expanded_name("compare", names[0])).exists()):
        names = [name for name in names[0].split(",") if name]
    show(comparison_text([expanded_name("compare", name) for name in names]))


_COMMANDS: dict[str, Callable[[Mapping[str, Any]], None]] = {
    "recommend": _recommend,
    "export": _export,
    "list": _list,
    "compare": _compare,
}

from __future__ import annotations

import csv
import gzip
import shutil
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from recbole_nasr import load
from recbole_nasr.commands.cli import main
from recbole_nasr.errors import ConfigError
from recbole_nasr.request.arguments import parse_line
from recbole_nasr.serving.files import HistoryFile


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_new_history_gets_items_with_titles(trained: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"--recommend={trained.nasr}", "--items=i3, i8,zzz", "--k=4", "--device=cpu"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    expected = load(trained.nasr, "cpu").recommend([["i3", "i8"]], k=4)
    table = [line.split(maxsplit=3) for line in shown.splitlines()[-4:]]
    assert [row[1] for row in table] == expected["item"].tolist()
    assert [row[3] for row in table] == expected["title"].tolist()
    assert "i3 The number 3; i8 The number 8; zzz" in shown
    assert "unknown item ids, skipped: 1 ('zzz')" in shown


def test_an_item_with_commas_is_named_alone_or_in_quotes(
    trained: SimpleNamespace, own_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with gzip.open(own_copy / "items.csv.gz", "rt", newline="") as file:
        rows = list(csv.reader(file))
    names = {"i3": "Beatles, The", "i4": " i4"}
    with gzip.open(own_copy / "items.csv.gz", "wt", newline="") as file:
        csv.writer(file).writerows([number, names.get(item, item), title] for number, item, title in rows)
    for given, plain in (("Beatles, The", "i3"), ('i8, "Beatles, The", i4', "i8,i3,i4")):
        tables = []
        for run, items in ((own_copy, given), (trained.nasr, plain)):
            assert main([f"--recommend={run}", f"--items={items}", "--exclude_seen=false", "--device=cpu"]) == 0
            shown = capsys.readouterr().out
            assert "unknown" not in shown
            tables.append([line.split()[0] + line.split("  ")[-1] for line in shown.splitlines()[-10:]])
        assert tables[0] == tables[1]


def test_a_user_gets_items_that_are_not_in_the_history(
    trained: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"--recommend={trained.sasrec}", "--user=u4", "--k=5", "--device=cpu"]) == 0
    shown = capsys.readouterr().out
    own = {f"i{(28 + step * step) % 30}" for step in range(8)}
    table = [line.split()[1] for line in shown.splitlines()[-5:]]
    assert len(table) == 5
    assert not own & set(table)
    assert main([f"--recommend={trained.sasrec}", "--user=u4", "--k=30", "--exclude_seen=false", "--device=cpu"]) == 0
    assert own <= {line.split()[1] for line in capsys.readouterr().out.splitlines()[-30:]}


def long_file(path: Path) -> None:
    rows = [f"u{user},i{(7 * user + step) % 30},{9 - step}" for user in range(9) for step in range(1 + user % 4)]
    path.write_text("\n".join(["user,item,time", *rows]) + "\n")  # each user's rows are in the wrong order


def recommend_file(trained: SimpleNamespace, source: str, *words: str, output: str = "top.csv") -> int:
    given = [f"--recommend={trained.nasr}", f"--input={source}", f"--output={output}", "--k=2", "--device=cpu"]
    return main([*given, *words])


def test_a_file_of_interactions_is_read_in_pieces_with_the_same_result(
    trained: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    long_file(tmp_path / "log.csv")
    lists = [[f"i{(7 * user + step) % 30}" for step in reversed(range(1 + user % 4))] for user in range(9)]
    expected = load(trained.nasr, "cpu").recommend(pd.Series(lists, index=[f"u{user}" for user in range(9)]), k=2)
    for n_rows in (1, 2, 3, 1000):
        monkeypatch.setattr("recbole_nasr.serving.files.ROWS_AT_ONCE", n_rows)
        assert recommend_file(trained, "log.csv") == 0
        found = pd.read_csv("top.csv")
        pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-5)
        assert "18 recommendations for 9 histories written to top.csv" in capsys.readouterr().out


def test_a_history_of_every_item_is_not_counted_as_served(
    trained: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = " ".join(f"i{item}" for item in range(30))
    Path("histories.csv").write_text(f"user,items\nanna,{everything}\nbob,i1\ncleo,zzz\n")
    assert recommend_file(trained, "histories.csv") == 0
    shown = capsys.readouterr().out
    assert "nothing is left to recommend: 1 of 3 histories." in shown
    assert "2 recommendations for 1 history written to top.csv" in shown
    assert recommend_file(trained, "histories.csv", "--exclude_seen=false", output="all.csv") == 0
    shown = capsys.readouterr().out
    assert "nothing is left" not in shown
    assert "4 recommendations for 2 histories written to all.csv" in shown


@pytest.mark.parametrize("items", ["i1 i2 i3", '"i1,i2,i3"', "i1;i2;i3", "\"['i1', 'i2', 'i3']\"", '"[i1, i2, i3]"'])
def test_a_row_may_be_a_whole_history(trained: SimpleNamespace, items: str) -> None:
    Path("histories.csv").write_text(f"user,items\nanna,{items}\nbob,\ncleo,zzz\n")
    assert recommend_file(trained, "histories.csv") == 0
    expected = load(trained.nasr, "cpu").recommend([["i1", "i2", "i3"]], k=2)
    found = rows_of(Path("top.csv"))
    assert [row["item"] for row in found] == expected["item"].tolist()
    assert {row["user"] for row in found} == {"anna"}


def test_a_file_of_histories_is_read_in_pieces_with_the_same_result(
    trained: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = [[f"i{(7 * user + step) % 30}" for step in range(1 + user % 4)] for user in range(9)]
    Path("histories.csv").write_text("\n".join(["items", *map(" ".join, lists)]) + "\n")
    expected = load(trained.nasr, "cpu").recommend(lists, k=2)
    for n_rows in (1, 4, 1000):
        monkeypatch.setattr("recbole_nasr.serving.files.HISTORIES_AT_ONCE", n_rows)
        assert recommend_file(trained, "histories.csv") == 0
        pd.testing.assert_frame_equal(pd.read_csv("top.csv"), expected, check_dtype=False, rtol=1e-5)


def test_parquet_in_and_out(trained: SimpleNamespace) -> None:
    pytest.importorskip("pyarrow")
    lists = [["i1", "i2"], ["i3"]]
    pd.DataFrame({"user": [10, 20], "history": lists}).to_parquet("in.parquet")
    assert recommend_file(trained, "in.parquet", output="top.parquet") == 0
    expected = load(trained.nasr, "cpu").recommend(pd.Series(lists, index=[10, 20]), k=2)
    pd.testing.assert_frame_equal(pd.read_parquet("top.parquet"), expected, check_dtype=False)


def test_whole_numbers_of_a_parquet_file_stay_whole_beside_a_missing_one(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    large = 2**53 + 1  # no double
    columns = {"user_id": [large, large, 7], "item_id": [large, None, 318], "timestamp": [large, large - 1, 1]}
    pd.DataFrame(columns, dtype="Int64").to_parquet(tmp_path / "gaps.parquet")
    pieces = list(HistoryFile(tmp_path / "gaps.parquet", {}).pieces())
    assert [user for histories, _ in pieces for user in histories.users] == [large, 7]
    assert [item for histories, _ in pieces for item in histories.items] == ["", str(large), "318"]


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([None, "i1", "i2"], [["", "i1"], ["i2"]]),
        ([None, 1, 2], [["", "1"], ["2"]]),
        ([None, ["i1"], ["i2", "i3"]], [[], ["i1"], ["i2", "i3"]]),
    ],
)
def test_what_a_row_of_a_parquet_file_is_does_not_depend_on_the_first(
    items: list[Any], expected: list[list[str]], tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    pd.DataFrame({"user_id": ["a", "a", "b"], "item_id": pd.Series(items, dtype=object)}).to_parquet(
        tmp_path / "log.parquet"
    )
    pieces = list(HistoryFile(tmp_path / "log.parquet", {}).pieces())
    ends = [(histories, *pair) for histories, _ in pieces for pair in pairwise(histories.start.tolist())]
    assert [histories.items[a:b].tolist() for histories, a, b in ends] == expected


def test_a_parquet_file_of_single_items_has_a_history_in_every_row(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pd.DataFrame({"item_id": [318, 858]}).to_parquet(tmp_path / "items.parquet")
    pd.DataFrame({"item_id": [318, None]}).to_parquet(tmp_path / "gaps.parquet")
    for name, expected in (("items", [["318"], ["858"]]), ("gaps", [["318"], []])):
        ((histories, _),) = HistoryFile(tmp_path / f"{name}.parquet", {}).pieces()
        ends = histories.start.tolist()
        assert [histories.items[a:b].tolist() for a, b in pairwise(ends)] == expected


def test_columns_of_other_names_can_be_named(trained: SimpleNamespace) -> None:
    Path("log.tsv").write_text("who\twhat\tlike\n1\ti3\t5\n1\ti4\t1\n2\ti5\t1\n")
    assert recommend_file(trained, "log.tsv", "--user_column=who", "--item_column=what") == 0
    assert [row["user"] for row in rows_of(Path("top.csv"))] == ["1", "1", "2", "2"]


def test_a_run_recommends_from_the_very_file_that_it_was_trained_on() -> None:
    rows = [f"{step};u{user};i{(7 * user + step * step) % 30}" for user in range(9) for step in range(1, 7)]
    Path("log.csv.gz").write_bytes(gzip.compress("\n".join(["wann;Kunde;Artikel", *rows]).encode()))
    Path("log.item").write_text("\n".join(["Artikel\tname", *(f"i{item}\tThe number {item}" for item in range(30))]))
    names = ["--user_column=Kunde", "--item_column=Artikel", "--time_column=wann", "--source_separator=;"]
    words = ["--model=NASR", "--architecture=tcn_d1_2", "--dataset=shop", "--source=log.csv.gz", *names]
    assert main([*words, "--epochs=1", "--hidden_size=8", "--topk=5", "--device=cpu"]) == 0
    (run,) = Path("runs", "shop").iterdir()
    assert main([f"--recommend={run}", "--input=log.csv.gz", "--output=top.csv", "--k=1", "--device=cpu"]) == 0
    found = rows_of(Path("top.csv"))
    assert [row["user"] for row in found] == [f"u{user}" for user in range(9)]
    assert all(row["title"] == f"The number {row['item'][1:]}" for row in found)
    log = pd.read_csv("log.csv.gz", sep=";")
    assert load(run, "cpu").recommend(log, k=1)["item"].tolist() == [row["item"] for row in found]


@pytest.mark.parametrize("rows_at_once", [1, 2, 100])
def test_users_whose_rows_stand_apart_are_refused_and_nothing_is_written(
    trained: SimpleNamespace, rows_at_once: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("recbole_nasr.serving.files.ROWS_AT_ONCE", rows_at_once)
    Path("log.csv").write_text("user,item\na,i1\nb,i1\nc,i2\na,i2\n")
    Path("top.csv").write_text("of an earlier command\n")
    assert recommend_file(trained, "log.csv") == 2
    assert "those of 'a' do not; sort by user" in capsys.readouterr().err
    assert Path("top.csv").read_text() == "of an earlier command\n"
    assert sorted(path.name for path in Path().iterdir()) == ["log.csv", "top.csv"]


BAD: list[tuple[list[str], str]] = [
    (["--recommend=runs/none", "--items=i1"], "A run is a folder"),
    (["--recommend=RUN"], "--user=ID"),
    (["--recommend=RUN", "--items=i1", "--user=u1"], "one of --user"),
    (["--recommend=RUN", "--user=nobody"], "no user 'nobody'"),
    (["--recommend=RUN", "--items="], "--items has none (got no item); items are named by their ids in the data, such"),
    (["--recommend=RUN", "--items=zzz,yyy"], "--items has none (got 'zzz', 'yyy')"),
    (["--recommend=RUN", "--items=i1", "--k=0"], "`k` must be"),
    (["--recommend=RUN", "--items=i1", "--exclude_sen=true"], "Did you mean 'exclude_seen'?"),
    (["--recommend=RUN", "--items=i1", "--exclude_seen=maybe"], "True or False"),
    (["--recommend=RUN", "--items=i1", "--output=top.csv"], "goes with --input"),
    (["--recommend=RUN", "--items=i1", "--device=tpu"], "auto, cpu, cuda"),
    (["--recommend=RUN", "--input=none.csv", "--output=top.csv"], "no file 'none.csv'"),
    (["--recommend=RUN", "--input=good.csv"], "--input needs --output"),
    (["--recommend=RUN", "--input=good.csv", "--output=top.txt"], ".csv or .parquet"),
    (["--recommend=RUN", "--input=good.csv", "--output=none/top.csv"], "no folder 'none'"),
    (["--recommend=RUN", "--input=good.csv", "--output=./good.csv"], "--output is the file of histories"),
    (["--recommend=RUN", "--input=good.csv", "--output=top.csv", "--item_column=itm"], "Did you mean 'item'?"),
    (
        ["--recommend=RUN", "--input=good.csv", "--output=top.csv", "--item_column=user"],
        "the column 'user' of good.csv has none (got 'a')",
    ),
    (["--recommend=RUN", "--input=columns.csv", "--output=top.csv"], "A column with the item is needed"),
    (
        ["--recommend=RUN", "--input=visitors.csv", "--output=top.csv"],
        "visitors.csv needs a column with the user of each row, there are visitor, item, time; name it with --user_col",
    ),
    (["--recommend=RUN", "--input=empty.csv", "--output=top.csv"], "no row"),
    (["--recommend=RUN", "--input=times.csv", "--output=top.csv"], "one is 'noon'"),
    (["--recommend=RUN", "--input=longer.csv", "--output=top.csv"], "more columns than the header, user, item;"),
    (["--recommend=RUN", "--input=good.txt", "--output=top.csv"], "read from .csv"),
    (["--recommend=RUN", "--list"], "One command at a time"),
    (["--export=torch"], "needs --run"),
    (["--export=tflite", "--run=RUN"], "one of torch, onnx"),
    (["--export=torch", "--run=RUN", "--device=cuda"], "Drop it"),
    (["--export=torch", "--run=RUN", "--output=none/there"], "no folder none"),
    (["--export=torch", "--run=RUN", "--output=."], "is not overwritten"),
    (["--export=torch", "--run=RUN", "--k=31"], "`k` must be"),
    (["--export=torch", "--run=SASREC"], "is SASRec of RecBole, which reads"),
    (["--recomend=RUN", "--user=u1"], "`--recomend` is neither a command nor a model. Did you mean 'recommend'?"),
    (["--modle=NASR", "--dataset=toy"], "Did you mean 'model'?"),
    (["--list", "--runs_dir=none"], "There is no run in 'none'"),
    (
        ["--list=toy"],
        "--list has no value, but is given 'toy'; for the runs of one data set give",
    ),
    (["--list", "--runs_dir=RUNS", "--dataset=toi"], "Did you mean 'toy'?"),
    (["--compare"], "at least two different runs"),
    (["--compare", "RUN", "RUN"], "at least two different runs"),
    (["--compare", "RUN", "runs/none"], "A run is a folder"),
]


@pytest.mark.parametrize(("words", "part"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_one_line_and_exit_code_2(
    trained: SimpleNamespace, words: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("good.csv").write_text("user,item\na,i1\n")
    Path("good.txt").write_text("user,item\na,i1\n")
    Path("columns.csv").write_text("a,b\n1,2\n")
    Path("visitors.csv").write_text("visitor,item,time\na,i1,1\na,i2,2\n")
    Path("empty.csv").write_text("user,item\n")
    Path("longer.csv").write_text("user,item\na,i1,i2\n")
    Path("times.csv").write_text("user,item,time\na,i1,noon\n")
    before = sorted(Path().iterdir())
    places = {"SASREC": trained.sasrec, "RUNS": trained.runs_dir, "RUN": trained.nasr}
    given = list(words)
    for name, place in places.items():
        given = [word.replace(name, str(place)) for word in given]
    assert main(given) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert part in shown.err
    assert sorted(Path().iterdir()) == before


def test_runs_to_compare_stand_after_the_word() -> None:
    assert parse_line(["--compare", "a", "b, c/d", "--seed=1"]) == {"compare": ["a", "b, c/d"], "seed": 1}
    assert parse_line(["--compare=a,b"]) == {"compare": "a,b"}
    assert parse_line(["--seed=1", "--compare"]) == {"seed": 1, "compare": []}
    with pytest.raises(ConfigError, match="`--compare` is given twice"):
        parse_line(["--compare", "a", "b", "--compare=a,b"])


def test_runs_to_compare_may_have_commas_in_their_names_or_between_them(
    trained: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [str(shutil.copytree(trained.nasr, Path("runs, old") / name)) for name in ("one", "two,three")]
    plain = [str(trained.nasr), str(trained.sasrec)]
    for words, names in (
        (["--compare", *folders], folders),
        (["--compare", ",".join(plain)], plain),
        ([f"--compare={','.join(plain)}"], plain),
    ):
        assert main(words) == 0
        assert [line.split("  ")[-1] for line in capsys.readouterr().out.splitlines()[:2]] == names
    assert main([f"--compare={folders[1]}"]) == 2
    assert (
        f"needs at least two different runs, as in --compare RUN RUN, but got {folders[1]}" in capsys.readouterr().err
    )

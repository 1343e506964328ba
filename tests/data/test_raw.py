from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest

from recbole_nasr.data import raw
from recbole_nasr.data.raw import Raw, Reading, read_raw
from recbole_nasr.errors import DataError

HEAD = "userId,movieId,rating,timestamp\n"
ROWS = HEAD + "1,31,2.5,1260759144\n1,1029,3.0,1260759179\n7,31,3.0,1260759182\n"
LASTFM = "userid-timestamp-artid-artname-traid-traname.tsv"
WANTED = ("ratings.csv", "ratings.dat", "u.data", "*.tsv", "*.csv", "*.inter")


def reading(**changes: object) -> Reading:
    keys: dict[str, object] = {"chosen": {}, "time_unit": "auto", "item": "id_or_name", "max_undecodable_rows": 2}
    return Reading(**{**keys, **changes})


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Raw]:
    """Return a function: file name and content -> what is read."""

    def write_and_read(name: str, content: str | bytes, **changes: object) -> Raw:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_raw(path, WANTED, reading(**changes))

    return write_and_read


def events(found: Raw) -> list[tuple[str, str, float]]:
    table = found.table
    return list(zip(table.users[table.user], table.items[table.item], table.time.tolist(), strict=True))


TIMES = [1260759144, 1260759179, 1260759182]
EVENTS = [("1", "31", 1260759144.0), ("1", "1029", 1260759179.0), ("7", "31", 1260759182.0)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ratings.csv", ROWS),
        ("ratings.csv", "\ufeff" + ROWS.replace("\n", "\r\n")),
        ("ratings.dat", "1::31::2.5::1260759144\n1::1029::3::1260759179\n7::31::3::1260759182\n"),
        ("u.data", "1\t31\t2\t1260759144\n1\t1029\t3\t1260759179\n7\t31\t3\t1260759182\n"),
        ("a.csv", "when,User-ID,sku\n1260759144,1,31\n1260759179,1,1029\n1260759182,7,31\n".replace("when", "Time")),
        ("a.tsv", "item\tuser\tts\n31\t1\t1260759144000\n1029\t1\t1260759179000\n31\t7\t1260759182000\n"),
        (
            "a.inter",
            "user_id:token\titem_id:token\ttimestamp:float\n1\t31\t1260759144\n1\t1029\t1260759179\n7\t31\t1.260759182e9\n",
        ),
        (
            "a.csv",
            'user,item,date\n1,"31",2009-12-14T02:52:24Z\n1,1029,2009-12-14 02:52:59\n7,31,2009-12-14T03:53:02+01:00\n',
        ),
        (
            "a.csv",
            "user,item,date\n1,31,2009-12-14 02:52:24 UTC\n"
            "1,1029,2009-12-14 02:52:59.0 UTC\n7,31,2009-12-14 02:53:02 UTC\n",
        ),
        ("ratings.csv", ROWS.replace(HEAD, HEAD + "\n")),
        ("u.data", "\n1\t31\t2\t1260759144\n1\t1029\t3\t1260759179\n7\t31\t3\t1260759182\n"),
        (
            "a.csv",
            'user,item,review,date\n1,31,"Good,\nin ""parts""\n",2009-12-14T02:52:24Z\n'
            "1,1029,,2009-12-14 02:52:59\n7,31,,2009-12-14T03:53:02+01:00\n",
        ),
    ],
)
def test_every_layout_gives_the_same_interactions(read: Callable[..., Raw], name: str, content: str) -> None:
    assert events(read(name, content)) == EVENTS


def test_blocks_are_joined_and_names_keep_their_numbers(
    read: Callable[..., Raw], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "_BLOCK_ROWS", 1)
    assert events(read("ratings.csv", ROWS)) == EVENTS


def test_compressed_files_and_archives_are_read_where_they_lie(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("ml-1/README.txt", "no data")
        archive.writestr("ml-1/ratings.csv", ROWS)
    (tmp_path / "ratings.csv.gz").write_bytes(gzip.compress(ROWS.encode()))
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as tar:
        for name, text in (("x/README", "no data"), ("x/ratings.csv", ROWS)):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    for name in ("a.zip", "ratings.csv.gz", "b.tar.gz"):
        assert events(read_raw(tmp_path / name, WANTED, reading())) == EVENTS
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip", "ratings.csv.gz", "b.tar.gz"}


def write_archive(path: Path, members: dict[str, bytes]) -> None:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz") as tar:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_what_macos_lays_beside_a_file_is_not_taken_for_it(kind: str, tmp_path: Path) -> None:
    members = {"__MACOSX/._events.csv": b"\0\5\26\7Mac OS X", "a/._events.csv": b"\0\5\26\7Mac OS X"}
    members["a/events.csv"] = b"user,item,time\nu,i,1\n"
    write_archive(tmp_path / f"a.{kind}", members)
    assert read_raw(tmp_path / f"a.{kind}", ["*.csv"], reading()).table.items.tolist() == ["i"]


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_of_several_files_in_an_archive_a_named_one_is_read_and_else_none(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    write_archive(path, {f"a/{name}": f"user,item,time\nu,{name},1\n".encode() for name in ("x.tsv", "y.csv", "z.csv")})
    assert read_raw(path, ["z.csv", "*.csv"], reading()).table.items.tolist() == ["z.csv"]
    with pytest.raises(DataError, match=r"one file of interactions, it has a/y\.csv, a/z\.csv, a/x\.tsv; unpack it"):
        read_raw(path, ["*.csv", "*.tsv"], reading())


@pytest.mark.parametrize("name", ["../ratings.csv", "/etc/ratings.csv", "C:\\ratings.csv", "a/../../ratings.csv"])
def test_an_archive_with_a_path_outside_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, ROWS)
    with pytest.raises(DataError, match=r"a\.zip: entries must lie inside"):
        read_raw(tmp_path / "a.zip", WANTED, reading())


def test_a_truncated_archive_is_one_line(tmp_path: Path) -> None:
    text = HEAD + "".join(f"{n},{n * 7919 % 1000},3.5,{1000000 + n}\n" for n in range(5000))
    whole = gzip.compress(text.encode())
    (tmp_path / "ratings.csv.gz").write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ratings.csv", text)
    (tmp_path / "b.zip").write_bytes((tmp_path / "b.zip").read_bytes()[:9000])
    for name in ("ratings.csv.gz", "b.zip"):
        with pytest.raises(DataError, match=rf"{name} must be a complete archive.*cut off") as caught:
            read_raw(tmp_path / name, WANTED, reading())
        assert "\n" not in str(caught.value)


def test_an_archive_without_the_file_says_what_it_has(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("movies.dat", "1::Toy Story\n")
    with pytest.raises(DataError, match=r"ratings\.csv.* it has movies\.dat"):
        read_raw(tmp_path / "a.zip", WANTED, reading())


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("ratings.csv", ROWS + "1,2,3\n", r"line 5: 4 columns are expected, 3 found"),
        ("ratings.csv", ROWS + "1,2,3,4,5\n", r"line 5: 4 columns are expected, 5 found"),
        ("ratings.csv", ROWS + "1,2,3,noon\n", r"line 5: timestamp needs a number, but is 'noon'"),
        ("ratings.csv", ROWS + "1,2,3,inf\n", r"line 5: timestamp needs a finite number, but is 'inf'"),
        ("ratings.csv", ROWS + ",2,3,4\n", r"line 5: userId is empty"),
        ("ratings.csv", HEAD.replace("timestamp", "when") + "1,2,3,4\n", r"line 1: a column with the time is needed"),
        ("ratings.csv", HEAD, r"at least one interaction is needed"),
        ("ratings.csv", "", r"line 1: a header"),
        ("ratings.csv", ROWS.replace(",", ";"), r"line 1: .*separated by ';'; set source_separator=';'"),
        ("ratings.dat", ROWS, r"line 1: expected 'UserID::MovieID::Rating::Timestamp', found 1"),
        ("ratings.dat", "1::2::3::4\n1::2:3::4\n", r"line 2: 4 columns are expected, 3 found"),
        ("u.data", "1 2 3 4\n", r"line 1: expected 'user.*timestamp', found 1"),
        ("ratings.csv", HEAD + "1,2,3,4,5\n" * 2, r"line 2: 4 columns are expected, 5 found"),
        ("a.tsv", "user\titem\ttime\n\n1\t2\t3\t\n", r"line 3: 3 columns are expected, 4 found"),
        ("ratings.csv", "\n" + ROWS, r"line 1: a header"),
        ("a.csv", "user,item,time\nu,i,2009-05-04\nu,i,tomorrow\n", r"line 3: time needs a time such as .*'tomorrow'"),
        ("a.csv", "user,item,time\nu,i,2009-05-04\nu,i,now\n", r"line 3: time needs a time such as .*'now'"),
        ("a.csv", "user,item,time\nu,i,today\nu,i,2009-05-04\n", r"line 2: time needs a number or a .*'today'"),
        ("a.csv", "user,item,time\nu,i,2009-05-04\nu,i,9999-12-31\n", r"line 3: time needs a time from 1678 to 2261"),
        ("a.csv", "user,item,time\nu,i,1066-10-14\nu,i,2009-05-04\n", r"line 2: time needs a time from 1678 to 2261"),
        ("a.csv", "user,item,time\nu,i,2009-W01-1\nu,i,2009-W01-2\n", r"a\.csv, .*time needs a .*'2009-W01-1'"),
        ("a.csv", "user,item,time\nu,i,04/05/2009\n", r"line 2: time needs a number or a time such as .*'04/05/2009'"),
        ("a.csv", "user,item,time,item\nu,i,1,j\n", r"line 1: several columns are called 'item', and one is needed"),
        ("a.xlsx", "PK", r"a source is one of \.csv, \.tsv, \.inter, \.parquet"),
    ],
)
def test_bad_input_names_file_line_and_what_was_expected(
    read: Callable[..., Raw], name: str, content: str, words: str
) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read(name, content)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_columns_can_be_named_and_a_wrong_name_is_refused(read: Callable[..., Raw]) -> None:
    text = "who,what,when,user,item,time\nA,B,3,x,y,1\n"
    chosen = {"user": "who", "item": "what", "time": "when"}
    assert events(read("a.csv", text, chosen=chosen)) == [("A", "B", 3.0)]
    with pytest.raises(DataError, match=r"user_column='whoo' is not a column.* Did you mean 'who'"):
        read("a.csv", text, chosen={"user": "whoo"})
    with pytest.raises(DataError, match=r"item_column and user_column are both 'user'; name another"):
        read("a.csv", text, chosen={"item": "user"})
    for separator in (";", "::", "\t"):
        found = read("b.csv", text.replace(",", separator), chosen={**chosen, "separator": separator})
        assert events(found) == [("A", "B", 3.0)]


@pytest.mark.parametrize(("factor", "unit"), [(1, "s"), (10**3, "ms"), (10**6, "us"), (10**9, "ns")])
def test_the_unit_of_a_time_is_recognised_by_its_magnitude(read: Callable[..., Raw], factor: int, unit: str) -> None:
    times = [978300760, 1700000000]
    found = read("a.csv", "user,item,time\n" + "".join(f"u,i,{time * factor}\n" for time in times))
    assert (found.table.time.tolist(), found.time_unit) == (times, unit)


def test_a_given_unit_outranks_the_magnitude(read: Callable[..., Raw]) -> None:
    assert read("a.csv", "user,item,time\nu,i,5000\n", time_unit="ms").table.time.tolist() == [5.0]


def test_microseconds_stay_apart(read: Callable[..., Raw]) -> None:
    found = read("a.csv", "user,item,time\nu,i,1700000000000001\nu,j,1700000000000002\n")
    assert found.table.time[0] < found.table.time[1]


def test_any_name_is_kept_as_it_is_written(read: Callable[..., Raw]) -> None:
    found = read("a.csv", 'user,item,time\n007,"a, ""b""",1\nNA,null,2\n7,坂本龍一,3\n')
    assert events(found) == [("007", 'a, "b"', 1.0), ("NA", "null", 2.0), ("7", "坂本龍一", 3.0)]


def test_bytes_that_are_not_text_are_counted_and_bounded(read: Callable[..., Raw]) -> None:
    head = b"user,item,time\nu,caf\xc3\xa9,0\n"
    found = read("a.csv", head + b"u,caf\xe9,1\nu,caf\xe9,2\n")
    assert found.undecodable == 2
    assert [item for _, item, _ in events(found)] == ["café", "caf\\xe9", "caf\\xe9"]
    with pytest.raises(DataError, match=r"at most 2 rows may have bytes that are not UTF-8"):
        read("a.csv", head + b"u,\xff,1\n" * 3)


LISTENED = (
    "u1\t2009-05-04T23:08:57Z\ta1\tDeep Dish\t\tMix\n"
    "u1\t2009-05-04T13:54:10Z\ta1\tDeep Dish\tt1\tSong\n"
    'u1\t2009-05-04T13:54:09Z\t\tX "Y"\t\tMix\n'
    "u1\t2009-05-04T13:54:08Z\t\tDeep Dish\t\tMix\n"
    "u1\t2009-05-04T13:54:07Z\ta1\tDeep Dish\tt1\tSong\n"
    "u1\t2009-05-04T13:54:06Z\ta1\tDeep Dish\t\t\n"
)


@pytest.mark.parametrize(
    ("item", "expected", "without"),
    [
        ("id_or_name", ["Deep Dish :: Mix", "t1", 'X "Y" :: Mix', "Deep Dish :: Mix", "t1"], 1),
        ("id", ["t1", "t1"], 4),
        ("name", ["Deep Dish :: Mix", "Deep Dish :: Song", 'X "Y" :: Mix', "Deep Dish :: Mix", "Deep Dish :: Song"], 1),
    ],
)
def test_an_item_of_lastfm_is_its_id_or_its_name(
    read: Callable[..., Raw], item: str, expected: list[str], without: int
) -> None:
    found = read(LASTFM, LISTENED, item=item)
    assert [name for _, name, _ in events(found)] == expected
    assert found.without_item == without
    assert found.table.time.max() == (1241478537 if item != "id" else 1241445250)


@pytest.mark.parametrize("role", ["user", "item"])
def test_an_empty_name_is_refused_in_parquet_as_it_is_in_text(role: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"user": ["a", "b"], "item": ["i", "j"], "time": [1, 2]})
    frame.loc[1, role] = ""
    frame.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=f"row 2 has no {role}"):
        read_raw(tmp_path / "a.parquet", WANTED, reading())
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match=f"line 3: {role} is empty, a name is needed"):
        read_raw(tmp_path / "a.csv", WANTED, reading())


def test_a_parquet_file_with_a_history_in_every_row_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"user": ["a", "b"], "item": [["i"], ["j", "i"]], "time": [1, 2]})
    frame.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="item must hold one value in each row, but holds list<"):
        read_raw(tmp_path / "a.parquet", WANTED, reading())


@pytest.mark.parametrize("kind", ["binary", "large_binary", "dictionary"])
def test_bytes_in_a_parquet_file_are_read_as_utf_8_and_refused_where_they_are_not(kind: str, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"

    def write(users: list[bytes]) -> None:
        column = pa.array(users, pa.large_binary() if kind == "large_binary" else pa.binary())
        column = column.dictionary_encode() if kind == "dictionary" else column
        pa.parquet.write_table(pa.table({"user": column, "item": ["31", "1029", "31"], "time": TIMES}), path)

    write(["é".encode(), "é".encode(), b"7"])
    assert events(read_raw(path, WANTED, reading())) == [("é", *EVENTS[0][1:]), ("é", *EVENTS[1][1:]), EVENTS[2]]
    write([b"1", b"\xff", b"\xff"])
    with pytest.raises(DataError, match=r"a\.parquet, row 2: user must be UTF-8 text, but is b'\\xff'; write names as"):
        read_raw(path, WANTED, reading())
    write([b"1", b"1", b""])
    with pytest.raises(DataError, match="row 3 has no user"):
        read_raw(path, WANTED, reading())


def test_decimal_times_of_a_parquet_file_are_numbers_and_other_values_are_told_what_a_time_is(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"user": ["1", "1", "7"], "item": ["31", "1029", "31"], "time": [*map(Decimal, TIMES)]})
    frame.to_parquet(tmp_path / "a.parquet")
    found = read_raw(tmp_path / "a.parquet", WANTED, reading())
    assert events(found) == EVENTS
    assert found.time_unit == "s"
    frame.assign(time=pd.to_timedelta(TIMES, unit="s")).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="row 1: time needs a number or an ISO time, but is '14592 days"):
        read_raw(tmp_path / "a.parquet", WANTED, reading())


@pytest.mark.parametrize("text", ["now", "today", "04/05/2009", "May 4 2009"])
def test_text_in_a_parquet_file_is_a_time_only_as_it_is_in_text_files(text: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for times in ([text, text], [text, "2009-05-04"], ["2009-05-04", text]):
        pd.DataFrame({"user": "u", "item": ["i", "j"], "time": times}).to_parquet(tmp_path / "a.parquet")
        row = times.index(text) + 1
        with pytest.raises(DataError, match=f"row {row}: time needs a number or an ISO time, but is '{text}'"):
            read_raw(tmp_path / "a.parquet", WANTED, reading())


def test_parquet_is_read_where_pyarrow_is_installed_and_names_it_where_not(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        path.write_bytes(b"PAR1")
        with pytest.raises(DataError, match=r"pip install 'recbole-nasr\[parquet\]'"):
            read_raw(path, WANTED, reading())
        return
    frame = pd.DataFrame({"user": [1, 1, 7], "item": ["31", "1029", "31"], "time": TIMES})
    frame.to_parquet(path)
    assert events(read_raw(path, WANTED, reading())) == EVENTS
    frame.assign(time=pd.to_datetime(frame["time"], unit="s")).to_parquet(path)
    assert events(read_raw(path, WANTED, reading())) == EVENTS
    frame.assign(user=[1, None, 7]).to_parquet(path)
    with pytest.raises(DataError, match=r"row 2 has no user"):
        read_raw(path, WANTED, reading())


@pytest.mark.parametrize("content", [b"\ruser,item,time\nu,i,1\n", b'user,item,time\nu,i,x\n"' + b"y" * 200_000])
def test_what_no_reader_of_csv_takes_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.csv"):
        read_raw(tmp_path / "a.csv", ["*.csv"], Reading({"separator": None}, "auto", "id_or_name", 0))

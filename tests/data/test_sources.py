from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from recbole_nasr.data import checksums, download, prepare
from recbole_nasr.data.checksums import checksum
from recbole_nasr.data.options import PrepareOptions
from recbole_nasr.data.prepare import ensure_prepared, prepared_folder
from recbole_nasr.data.report import load_report, report_text
from recbole_nasr.data.sources import RELEASES, given_source, local_release
from recbole_nasr.errors import ConfigError, DataError

RAW = Path(os.environ.get("RECBOLE_NASR_RAW_DATA", Path(__file__).parents[3] / "shared" / "data" / "raw"))
LATEST_SMALL = RAW / "ml-latest-small" / "ratings.csv"
LASTFM = RAW / "lastfm-1k-sample" / "userid-timestamp-artid-artname-traid-traname.tsv"
HEAD = "userId,movieId,rating,timestamp\n"
ROWS = HEAD + "".join(f"{user},{item},3.5,{1260759000 + item}\n" for user in range(12) for item in range(11))


def needs(path: Path) -> pytest.MarkDecorator:
    reason = f"{path.name} is not in {path.parent}; set RECBOLE_NASR_RAW_DATA to the folder of the raw samples"
    return pytest.mark.skipif(not path.is_file(), reason=reason)


@needs(LATEST_SMALL)
def test_ml_latest_small_gives_the_counts_of_its_file(tmp_path: Path) -> None:
    report = load_report(ensure_prepared({"data_path": str(tmp_path), "source": str(LATEST_SMALL)}))
    lines = LATEST_SMALL.read_text().splitlines()[1:]
    cells = [line.split(",") for line in lines]
    counts = {"interactions": len(lines), "users": len({c[0] for c in cells}), "items": len({c[1] for c in cells})}
    assert report.raw == counts
    assert report.actions + sum(report.dropped.values()) == len(lines)
    assert report.times["unit"] == "s"


@needs(LASTFM)
def test_the_lastfm_sample_is_cut_into_windows_of_twenty_by_the_two_hour_rule(tmp_path: Path) -> None:
    keys = {"dataset": "lastfm", "data_path": str(tmp_path), "source": str(LASTFM.parent)}
    loose = {"min_item_interactions": 0, "min_user_interactions": 0}
    report = load_report(ensure_prepared({**keys, **loose}))
    assert report.raw["interactions"] == 5000
    # 4,997 events are of one user: 249 windows of 20 and a tail of 17; the other has 3.
    assert report.dropped["in no window"] == 17 + 3
    assert report.actions == 20 * report.sequences
    assert report.dropped["windows with a late end"] == 20 * (249 - report.sequences)
    assert "\nkept      1 person; " in report_text(report)
    assert load_report(ensure_prepared({**keys, **loose, "max_end_gap": None})).sequences == 249


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("1m", "ml-1m/ratings.dat"),
        ("10m", "ml-10M100K/ratings.dat"),
        ("25m", "ml-25m/ratings.csv"),
        ("100k", "ml-100k/u.data"),
    ],
)
def test_a_release_is_found_below_data_path_plain_and_in_its_archive(tmp_path: Path, release: str, name: str) -> None:
    (tmp_path / name).parent.mkdir()
    with zipfile.ZipFile(tmp_path / f"ml-{release}.zip", "w") as archive:
        archive.writestr(name, "")
    assert local_release(RELEASES[release], tmp_path) == tmp_path / f"ml-{release}.zip"
    (tmp_path / name).touch()
    assert local_release(RELEASES[release], tmp_path) == tmp_path / name


def test_only_100k_is_here_without_a_file_or_a_download(tmp_path: Path) -> None:
    found = {name for name, release in RELEASES.items() if local_release(release, tmp_path) is not None}
    assert found == {"100k"}


def test_a_missing_release_is_downloaded_once_and_then_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Path]] = []

    def fetch(name: str, folder: Path) -> Path:
        asked.append((name, folder))
        with zipfile.ZipFile(folder / "ml-25m.zip", "w") as archive:
            archive.writestr("ml-25m/ratings.csv", ROWS)
        return folder / "ml-25m.zip"

    monkeypatch.setattr(download, "fetch", fetch)
    keys = {"data_path": str(tmp_path), "ml_release": "25m"}
    before = prepared_folder(keys)
    folder = ensure_prepared(keys)
    assert not before.exists()
    assert prepared_folder(keys) == ensure_prepared(keys) == folder
    assert asked == [("ml-25m", tmp_path)]
    assert load_report(folder).raw["interactions"] == 132


def test_a_source_that_is_not_there_or_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        prepared_folder({"data_path": str(tmp_path), "source": str(tmp_path / "none.csv")})
    with pytest.raises(DataError, match=r"a folder without ratings\.csv"):
        prepared_folder({"data_path": str(tmp_path), "source": str(tmp_path)})


def test_a_hidden_file_is_not_the_source_of_a_folder(tmp_path: Path) -> None:
    for name in ("._events.csv", ".ratings.csv", "events.csv"):
        (tmp_path / name).write_text("user,item,time\nu,i,1\n")
    assert given_source(tmp_path, "shop") == tmp_path / "events.csv"


def test_of_several_files_in_a_folder_none_is_taken_for_the_source(tmp_path: Path) -> None:
    for name in ("events.csv", "catalogue.csv", "events.item"):
        (tmp_path / name).write_text("user,item,time\nu,i,1\n")
    with pytest.raises(DataError, match=r"a folder with catalogue\.csv, events\.csv; name the file itself"):
        given_source(tmp_path, "shop")
    (tmp_path / "ratings.csv").touch()
    assert given_source(tmp_path, "ml") == tmp_path / "ratings.csv"  # a release has this name


def test_a_source_for_the_data_set_of_recbole_needs_another_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="choose another name"):
        prepared_folder({"data_path": str(tmp_path), "dataset": "ml-100k", "source": "a.csv"})


def test_a_change_of_the_source_prepares_anew_and_a_move_does_not(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "ratings.csv", tmp_path / "b" / "ratings.csv"
    for path in (first, second):
        path.parent.mkdir()
        path.write_text(ROWS)
    keys = {"data_path": str(tmp_path / "out")}
    folder = ensure_prepared({**keys, "source": str(first)})
    assert prepared_folder({**keys, "source": str(second)}) == folder
    second.write_text(ROWS + "3,3,3.5,7\n")
    assert prepared_folder({**keys, "source": str(second)}) != folder


def test_duplicate_rows_are_kept_and_reported(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text(ROWS + "3,3,3.5,1260759003\n3,3,1.5,1260759003\n")
    report = load_report(ensure_prepared({"data_path": str(tmp_path), "source": str(path)}))
    assert (report.duplicates, report.actions) == (2, 134)


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepare, "write_atomic_files", full)
    with pytest.raises(DataError, match="No space left on device; free space there or set data_path"):
        ensure_prepared({"data_path": str(tmp_path)})


def test_where_nothing_may_be_written_the_advice_is_not_to_free_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(prepare, "write_atomic_files", refused)
    with pytest.raises(DataError, match="Permission denied; check its permissions or set data_path"):
        ensure_prepared({"data_path": str(tmp_path)})


def test_the_checksum_of_a_large_file_is_remembered_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksums, "_LARGE", 0)
    reads: list[Path] = []
    read = checksums.sha256_of
    monkeypatch.setattr(checksums, "sha256_of", lambda path: reads.append(path) or read(path))
    path = tmp_path / "a"
    path.write_bytes(b"one")
    os.utime(path, (1e9, 1e9))
    first = checksum(path, tmp_path)
    assert checksum(path, tmp_path) == first
    assert len(reads) == 1
    path.write_bytes(b"two")
    os.utime(path, (1e9, 1e9 + 1))
    assert checksum(path, tmp_path) != first
    next((tmp_path / ".checksums").iterdir()).write_text("{")
    assert checksum(path, tmp_path) == checksum(path)


def test_the_checksum_of_a_file_that_has_just_changed_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksums, "_LARGE", 0)
    (tmp_path / "a").write_bytes(b"one")
    checksum(tmp_path / "a", tmp_path)
    assert not (tmp_path / ".checksums").exists()


def test_an_empty_source_is_not_the_current_folder(tmp_path: Path) -> None:
    Path("events.csv").write_text(ROWS)
    with pytest.raises(ConfigError, match="source names the file to prepare, but it is empty"):
        prepared_folder({"data_path": str(tmp_path), "dataset": "mine", "source": ""})


def test_a_separator_is_one_character_or_two_colons_and_a_tab_as_a_shell_passes_it() -> None:
    assert PrepareOptions.from_config({"source_separator": "\\t"}, "mine").source_separator == "\t"
    assert PrepareOptions.from_config({"source_separator": "::"}, "mine").source_separator == "::"
    for separator in ("||", '"', "tab"):
        with pytest.raises(ConfigError, match="source_separator must be empty, one character"):
            PrepareOptions.from_config({"source_separator": separator}, "mine")

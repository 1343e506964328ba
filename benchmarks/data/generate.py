"""Raw files in the layout and shape of MovieLens 25M and Last.FM-1K, made up: to measure the preparation at full size.

``python -m benchmarks.data.generate movielens --scale 0.1 ratings.csv``

Users and rows grow with ``--scale``, items with its square root. The counts at scale 1 are those of the originals,
activity and popularity have their long tails, the lines their order; what follows what is chance, so nothing can
be learned from these files.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
CHUNK_ROWS = 1_000_000


@dataclass(frozen=True)
class Shape:
    """Size of a data set.

    Attributes:
        rows: Interactions.
        users: Users.
        items: Items; of the rarest some may never occur.
        least: Fewest interactions of a user.
        spread: Standard deviation of the logarithm of the activity above ``least``.
    """

    rows: int
    users: int
    items: int
    least: int
    spread: float

    def scaled(self, scale: float) -> Shape:
        """Return the shape with ``scale`` times the rows and users."""
        users = max(2, round(self.users * scale))
        return Shape(
            rows=max(users * 2 * self.least, round(self.rows * scale)),
            users=users,
            items=max(20 * self.least, round(self.items * scale**0.5)),
            least=self.least,
            spread=self.spread,
        )


MOVIELENS_25M = Shape(rows=25_000_095, users=162_541, items=59_047, least=20, spread=1.38)
LASTFM_1K = Shape(rows=19_150_868, users=992, items=1_080_000, least=2, spread=1.2)


def activity(shape: Shape, most: int, rng: np.random.Generator) -> Ints:
    """Return the number of interactions of each user: lognormal above the least, with exactly ``shape.rows`` in all.

    Raises:
        ValueError: If users with at most ``most`` cannot have so many.
    """
    if shape.users * most < shape.rows:
        msg = f"{shape.users} users with at most {most} interactions cannot have {shape.rows}; take a larger --scale."
        raise ValueError(msg)
    above = rng.lognormal(0.0, shape.spread, shape.users)
    left = shape.rows - shape.users * shape.least
    counts: Ints = np.minimum(np.floor(above * left / above.sum()).astype(np.int64), most - shape.least)
    while missing := left - int(counts.sum()):  # from rounding, and from the cut at `most`
        free = np.flatnonzero(counts < most - shape.least)
        counts[rng.choice(free, min(missing, len(free)), replace=False)] += 1
    return counts + shape.least


def popularity(items: int, bend: float, power: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the probability of each item: a power law that bends at rank ``bend``, in random order."""
    weights: NDArray[np.float64] = (np.arange(items, dtype=np.float64) + bend) ** -power
    return rng.permutation(weights / weights.sum())


def distinct_items(counts: Ints, probability: NDArray[np.float64], rng: np.random.Generator) -> Ints:
    """Draw that many different items for each user; ascending for each user, one user after the other."""
    cumulative, size = np.cumsum(probability), len(probability)
    eager = np.flatnonzero(counts > size // 50)  # too many to draw until they differ: the first of a race instead
    complete = [
        user * size + np.argpartition(rng.exponential(size=size) / probability, counts[user])[: counts[user]]
        for user in eager
    ]
    missing = counts.copy()
    missing[eager] = 0
    found = np.empty(0, dtype=np.int64)
    while missing.any():
        users = np.repeat(np.arange(len(counts)), missing)
        drawn = np.searchsorted(cumulative, rng.random(len(users)) * cumulative[-1])
        found = np.sort(np.append(found, users * size + drawn))
        found = found[np.diff(found, prepend=-1) > 0]  # np.unique is slower
        missing = np.where(missing > 0, counts - np.bincount(found // size, minlength=len(counts)), 0)
        still_open = missing[found // size] > 0
        complete.append(found[~still_open])
        found = found[still_open]
    return np.sort(np.concatenate(complete)) % size


def times_of(counts: Ints, gaps: Ints, last: Ints) -> Ints:
    """Return ascending times for each user that end at ``last``, from gaps (one for each row, in seconds)."""
    total = np.cumsum(gaps)
    ends = np.cumsum(counts) - 1
    return total - np.repeat(total[ends] - last, counts)


def chunks(counts: Ints) -> Iterator[slice]:
    """Cut the users into runs with about `CHUNK_ROWS` rows."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + CHUNK_ROWS, side="right")))
        yield slice(start, stop)
        start = stop


def write_movielens(path: Path, shape: Shape, seed: int) -> None:
    """Write ``ratings.csv``: by user and, within a user, by movie; 1995 to 2019, rated in sittings."""
    rng = np.random.default_rng(seed)
    counts = activity(shape, shape.items // 8, rng)
    probability = popularity(shape.items, bend=300.0, power=2.0, rng=rng)
    movies = np.sort(rng.choice(shape.items * 7 // 2, shape.items, replace=False)) + 1
    stars = np.array([b"0.5", b"1.0", b"1.5", b"2.0", b"2.5", b"3.0", b"3.5", b"4.0", b"4.5", b"5.0"], dtype=object)
    shares = [0.016, 0.031, 0.016, 0.066, 0.05, 0.196, 0.127, 0.266, 0.088, 0.144]
    with path.open("wb") as file:
        file.write(b"userId,movieId,rating,timestamp\n")
        for part in chunks(counts):
            of_user, rows = counts[part], int(counts[part].sum())
            users = np.repeat(np.arange(part.start, part.stop) + 1, of_user)
            kind = rng.random(rows)
            gaps = np.where(
                kind < 0.22, 0, np.where(kind < 0.98, rng.exponential(15, rows), rng.exponential(9e6, rows))
            )
            times = times_of(of_user, gaps.astype(np.int64), rng.integers(900_000_000, 1_574_327_703, len(of_user)))
            times = np.maximum(times, 789_652_009)[np.lexsort((rng.random(rows), users))]  # not in the order of movies
            items = movies[distinct_items(of_user, probability, rng)]
            rating = stars[rng.choice(10, rows, p=shares)]
            columns = (users.tolist(), items.tolist(), rating.tolist(), times.tolist())
            file.write(b"".join(map(b"%d,%d,%s,%d\n".__mod__, zip(*columns, strict=True))))


def write_lastfm(path: Path, shape: Shape, seed: int) -> None:
    """Write the six-column TSV without a header: by user, newest first; 11 % of the tracks have no id."""
    rng = np.random.default_rng(seed)
    counts = activity(shape, max(shape.rows // 100, 4 * shape.rows // shape.users), rng)
    tracks = track_texts(shape.items, rng)
    cumulative = np.cumsum(popularity(shape.items, bend=2000.0, power=1.0, rng=rng))
    names = np.sort(rng.choice(shape.users + 8, shape.users, replace=False)) + 1
    with path.open("wb") as file:
        for user, count in zip(names.tolist(), counts.tolist(), strict=True):
            # A person returns to a pool of tracks, of which a few are heard most.
            pool = np.searchsorted(cumulative, rng.random(round(2 * count**0.8) + 1) * cumulative[-1])
            heard = pool[(len(pool) * rng.random(count) ** 2).astype(np.int64)]
            kind = rng.random(count)
            gaps = np.where(
                kind < 0.03, 0, np.where(kind < 0.94, rng.normal(250, 80, count), rng.exponential(3e4, count))
            )
            last = np.array([rng.integers(1_190_000_000, 1_241_500_000)])
            times = times_of(np.array([count]), np.maximum(gaps, 0).astype(np.int64), last)[::-1]
            start = b"user_%06d\t" % user
            stamps = np.datetime_as_string(times.astype("datetime64[s]")).astype("S19").tolist()
            lines = zip(stamps, tracks[heard].tolist(), strict=True)
            file.write(b"".join([b"%b%bZ\t%b" % (start, stamp, track) for stamp, track in lines]))


def track_texts(count: int, rng: np.random.Generator) -> NDArray[np.object_]:
    """Return the last four columns of the tracks: artist id, artist name, track id, track name."""
    artists = max(1, count // 6)
    artist_ids, track_ids = identifiers(artists, rng), identifiers(count, rng)
    artist_named = rng.random(artists) < 0.94
    track_named = rng.random(count) < 0.89
    by = rng.integers(artists, size=count).tolist()
    words = ("Sonata", "Über Alles", 'Theme (12" Mix)', "愛の歌", "Live, Part 2", "Don't Stop")
    lines = (
        f"{artist_ids[artist] if artist_named[artist] else ''}\tArtist {artist}\t"
        f"{track_ids[track] if track_named[track] else ''}\t{words[track % len(words)]} {track}\n".encode()
        for track, artist in enumerate(by)
    )
    return np.fromiter(lines, dtype=object, count=count)


def identifiers(count: int, rng: np.random.Generator) -> list[str]:
    """Return random identifiers in the form of MusicBrainz."""
    digits = rng.bytes(16 * count).hex()
    each = (digits[start : start + 32] for start in range(0, 32 * count, 32))
    return [f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}" for text in each]


KINDS: dict[str, tuple[Shape, Callable[[Path, Shape, int], None]]] = {
    "movielens": (MOVIELENS_25M, write_movielens),
    "lastfm": (LASTFM_1K, write_lastfm),
}


def main() -> None:
    """Write one file, as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS, help="layout and shape")
    parser.add_argument("path", type=Path, help="file to write")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full size (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same file (default 0)")
    chosen = parser.parse_args()
    full, write = KINDS[chosen.kind]
    shape = full.scaled(chosen.scale)
    start = time.perf_counter()
    try:
        write(chosen.path, shape, chosen.seed)
    except ValueError as error:
        parser.error(str(error))
    size = chosen.path.stat().st_size
    sys.stderr.write(f"{chosen.path}: {shape.rows:,} rows, {size:,} bytes, {time.perf_counter() - start:.1f} s\n")


if __name__ == "__main__":
    main()

"""The best next items for histories that the network need never have seen."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import pandas as pd
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_nasr.data.gather import gather_windows
from recbole_nasr.data.table import Column
from recbole_nasr.errors import ConfigError, NumericalError
from recbole_nasr.serving.columns import OwnNames
from recbole_nasr.serving.histories import Histories, histories_of
from recbole_nasr.serving.saved import LoadedRun, load_run

_LOG = logging.getLogger("recbole_nasr")

_SCORES_AT_ONCE = 1 << 25  # 128 MB
_MOST_AT_ONCE = 1024
_NAMED = 3


@dataclass
class Unknown:
    """Items and histories that could not be used, counted over all histories.

    Args:
        histories: Histories seen.
        empty: Of them, those without a known item; nothing is recommended for them.
        events: Item ids that the network does not know; they are skipped.
        names: The first of them.
    """

    histories: int = 0
    empty: int = 0
    events: int = 0
    names: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return one line, or an empty text if everything could be used."""
        parts = []
        if self.events:
            named = ", ".join(map(repr, self.names)) + (", ..." if self.events > len(self.names) else "")
            parts.append(f"unknown item ids, skipped: {self.events:,} ({named})")
        if self.empty:
            parts.append(f"without a known item, so not served: {self.empty:,} of {self.histories:,} histories")
        return "; ".join(parts)


@dataclass(frozen=True)
class TopK:
    """Recommendations as arrays, best first.

    Args:
        users: ``(H,)`` what each history is called.
        ids: ``(H, k)`` numbers of the items in the network, int64; 0 where nothing is left to recommend.
        scores: ``(H, k)`` float32, the network's logits; ``-inf`` where ``ids`` is 0.
        items: ``(H, k)`` original item ids; empty text where ``ids`` is 0.
        titles: ``(H, k)`` titles; None where the data have none.
    """

    users: Column
    ids: Column
    scores: Column
    items: Column
    titles: Column | None

    def frame(self) -> pd.DataFrame:
        """Return one row per recommendation: ``user``, ``rank`` (from 1), ``item``, ``score`` and ``title``."""
        there = self.ids > 0
        rows, places = np.nonzero(there)
        columns = {"user": self.users[rows], "rank": places + 1, "item": self.items[there], "score": self.scores[there]}
        if self.titles is not None:
            columns["title"] = self.titles[there]
        return pd.DataFrame(columns)


def load(run: str | Path, device: str = "auto") -> Recommender:
    """Make a finished run recommend.

    Args:
        run: Its folder, such as ``runs/ml/20261123-222127-NASRSearch``, or a checkpoint of RecBole.
        device: ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``.

    Raises:
        NASRError: If there is no such run, or it cannot recommend; see :func:`~recbole_nasr.serving.saved.load_run`.

    Example:
        >>> from recbole_nasr import load
        >>> load("runs/ml/20261123-222127-NASRSearch").recommend([["318", "858"]], k=3)  # doctest: +SKIP
    """
    return Recommender(load_run(run, device))


class Recommender:
    """Recommends with one network.

    Args:
        loaded: The network and its items.

    Attributes:
        own_names: What the data of the run call their columns.
    """

    def __init__(self, loaded: LoadedRun) -> None:
        self.loaded = loaded
        config, self.vocabulary = loaded.config, loaded.vocabulary
        self.own_names = OwnNames.of(config)
        self._device: torch.device = config["device"]
        self._sequence, self._length = config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"], config["ITEM_LIST_LENGTH_FIELD"]
        self._batch_size = max(1, min(_MOST_AT_ONCE, _SCORES_AT_ONCE // len(self.vocabulary)))

    @overload
    def recommend(
        self,
        histories: Any,
        k: int = ...,
        exclude_seen: bool = ...,  # noqa: FBT001 - as below
        *,
        as_numpy: Literal[False] = ...,
    ) -> pd.DataFrame: ...

    @overload
    def recommend(
        self,
        histories: Any,
        k: int = ...,
        exclude_seen: bool = ...,  # noqa: FBT001 - as below
        *,
        as_numpy: Literal[True],
    ) -> TopK: ...

    def recommend(
        self,
        histories: Any,
        k: int = 10,
        exclude_seen: bool = True,  # noqa: FBT001, FBT002 - the name is what one writes
        *,
        as_numpy: bool = False,
    ) -> pd.DataFrame | TopK:
        """Return the ``k`` best next items of each history.

        Item ids that the network does not know are skipped; how many is logged as a warning. Of long histories the
        network reads the last ``MAX_ITEM_LIST_LENGTH`` items.

        Args:
            histories: Lists of original item ids, oldest first; or a Series or DataFrame, see
                :func:`~recbole_nasr.serving.histories.histories_of`. Columns may be called as in the run's data.
            k: Items for each history, at most as many as there are.
            exclude_seen: Leave out every item of the history, also of the part that the network does not read.
            as_numpy: Return arrays.

        Returns:
            One row per recommendation, or with ``as_numpy`` a :class:`TopK`. A history without a known item has no
            rows; fewer than ``k`` where fewer items are left.

        Raises:
            ConfigError: If ``k`` is out of range.
            DataError: If the histories have another form.
            NumericalError: If a score is not a number.
        """
        unknown = Unknown()
        top = self.top(histories_of(histories, own=self.own_names), k, exclude_seen=exclude_seen, unknown=unknown)
        if unknown.text():
            _LOG.warning("%s.", unknown.text())
        return top if as_numpy else top.frame()

    def check_k(self, k: int) -> None:
        """Refuse a number of items that cannot be recommended.

        Raises:
            ConfigError: If it is no whole number from 1 to the number of items.
        """
        most = len(self.vocabulary) - 1
        if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or not 1 <= k <= most:
            msg = f"`k` must be a whole number from 1 to the {most:,} items there are, but is {k!r}."
            raise ConfigError(msg)

    def top(self, histories: Histories, k: int, *, exclude_seen: bool, unknown: Unknown) -> TopK:
        """Return the ``k`` best next items as arrays, and count in ``unknown`` what was skipped."""
        self.check_k(k)
        items, start = self._encode(histories, unknown)
        ids = np.zeros((len(histories), k), dtype=np.int64)
        scores = np.full((len(histories), k), -np.inf, dtype=np.float32)
        filled = np.flatnonzero(np.diff(start))  # a network has nothing to read in the others
        for rows in _batches(filled, self._batch_size):
            best, chosen = self._score(items, start[rows], start[rows + 1], k, exclude_seen=exclude_seen)
            ids[rows], scores[rows] = np.where(np.isfinite(best), chosen, 0), best
        titles = self.vocabulary.titles
        found = None if titles is None else titles[ids]
        return TopK(histories.users, ids, scores, self.vocabulary.names[ids], found)

    def _encode(self, histories: Histories, unknown: Unknown) -> tuple[Tensor, Column]:
        """Return the numbers of all known items one after another, and where each history begins among them."""
        numbers = self.vocabulary.numbers(histories.items)
        known = numbers > 0
        start = np.concatenate([[0], np.cumsum(known)])[histories.start]
        unknown.histories += len(histories)
        unknown.empty += int((np.diff(start) == 0).sum())
        unknown.events += int((~known).sum())
        for name in pd.unique(histories.items[~known])[:_NAMED]:
            if name not in unknown.names and len(unknown.names) < _NAMED:
                unknown.names.append(name)
        return torch.from_numpy(numbers[known]), start

    @torch.inference_mode()
    def _score(self, items: Tensor, start: Column, end: Column, k: int, *, exclude_seen: bool) -> tuple[Column, Column]:
        first, last = torch.from_numpy(start), torch.from_numpy(end)
        length = (last - first).clamp_max(self.loaded.max_length)
        # Ours count positions from the last item and take any width; some models of RecBole read the last slot.
        width = int(length.max()) if self.loaded.is_ours else self.loaded.max_length
        sequences = gather_windows(items, last - length, length, width)
        batch = Interaction({self._sequence: sequences, self._length: length}).to(self._device)
        scores = self.loaded.model.full_sort_predict(batch).view(len(start), -1).float()
        scores[:, 0] = -torch.inf
        if exclude_seen:
            rows = torch.repeat_interleave(torch.arange(len(start)), last - first)
            place = torch.arange(len(rows)) - torch.repeat_interleave((last - first).cumsum(0) - last, last - first)
            scores[rows.to(self._device), items[place].to(self._device)] = -torch.inf
        best, chosen = scores.topk(k, dim=1)
        if bool(best.isnan().any()):
            msg = f"Scores must be numbers, but {type(self.loaded.model).__name__} gave NaN; the run has failed."
            raise NumericalError(msg)
        return best.cpu().numpy(), chosen.cpu().numpy()


def _batches(rows: Column, size: int) -> Iterator[Column]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]

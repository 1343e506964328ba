"""The paper's protocol (§4.1.1): filter, sort, cut every history into windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from recbole_nasr.data.options import PrepareOptions


@dataclass(frozen=True)
class Windows:
    """Interactions after each step of the protocol.

    Attributes:
        after_items: Without the rare items.
        histories: Also without the users who have too few left; stably sorted by user and time.
        windows: One row per interaction of a window: ``user``, ``item``, ``window`` (number of the window
            within its user, from 0) and ``position`` (place within the window, from 0), ``row`` (row of
            ``histories``).
    """

    after_items: pd.DataFrame
    histories: pd.DataFrame
    windows: pd.DataFrame


def cut_windows(raw: pd.DataFrame, options: PrepareOptions) -> Windows:
    """Apply the protocol to raw interactions.

    Items are filtered first and users second, once each: on MovieLens 100K this order gives the numbers of
    sequences, actions and items that the README names. Interactions of one user with equal times keep the
    order of the file. A window number counts windows that are dropped, so that names do not depend on the
    shortest length.

    Args:
        raw: Columns ``user``, ``item``, ``time``.
        options: Thresholds and window sizes.
    """
    after_items = _with_at_least(raw, "item", options.min_item_interactions)
    histories = _with_at_least(after_items, "user", options.min_user_interactions)
    # Users keep the order in which they first appear, so that the result does not depend on how names sort.
    order = pd.factorize(histories["user"])[0]
    histories = histories.iloc[np.lexsort((histories["time"].to_numpy(), order))].reset_index(drop=True)
    return Windows(after_items, histories, _windows(histories, options))


def _with_at_least(table: pd.DataFrame, column: str, least: int) -> pd.DataFrame:
    return table[table.groupby(column)[column].transform("size") >= least]


def _windows(histories: pd.DataFrame, options: PrepareOptions) -> pd.DataFrame:
    place = histories.groupby("user", sort=False).cumcount().to_numpy()
    parts = []
    # An interaction is in several windows only where the stride is shorter than the window.
    for back in range(-(-options.window_length // options.window_stride)):
        window = place // options.window_stride - back
        position = place - window * options.window_stride
        inside = (window >= 0) & (position < options.window_length)
        part = histories.loc[inside, ["user", "item"]]
        rows = np.flatnonzero(inside)
        parts.append(part.assign(window=window[inside], position=position[inside], row=rows))
    table = pd.concat(parts, ignore_index=True)
    order = np.lexsort((table["position"], table["window"], pd.factorize(table["user"])[0]))
    table = table.iloc[order].reset_index(drop=True)
    length = table.groupby(["user", "window"], sort=False)["item"].transform("size")
    return table[length >= options.min_window_length].reset_index(drop=True)

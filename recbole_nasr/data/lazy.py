"""RecBole's sequential data set, with the histories gathered when a batch asks for them.

RecBole copies the history of every interaction into its own row, in a Python loop, for each loaded field. The
rows here keep the position of their target in the sorted columns instead; a batch reads the histories from
there. Rows, field names, dtypes and values are the same; building is vectorised and memory does not grow with
``MAX_ITEM_LIST_LENGTH``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_nasr.data.atomic import check_interaction_file, first_bad_line
from recbole_nasr.data.gather import gather_windows
from recbole_nasr.errors import DataError

TARGET_POSITION = "__target_position__"
"""Column of ``inter_feat`` with the flat position of a row's target; never part of a batch."""


class LazySequentialDataset(SequentialDataset):  # type: ignore[misc]  # RecBole has no types
    """RecBole's ``SequentialDataset`` with lazily gathered histories.

    Every split of RecBole (leave-one-out, ratio, by time) works unchanged, since it only orders and picks
    rows. With ``benchmark_filename`` the files already hold the histories, and everything is left to RecBole.
    """

    inter_feat: Any  # a DataFrame when loaded, an Interaction once built
    _flat: dict[str, Tensor] | None = None  # sorted columns, first dimension = interactions of all users
    _list_sources: dict[str, str]  # name of a history field -> name of its flat column

    def _load_inter_feat(self, token: str, dataset_path: str) -> None:
        if self.benchmark_filename_list is not None:
            super()._load_inter_feat(token, dataset_path)
            return
        path = Path(dataset_path) / f"{token}.inter"
        needed = (self.uid_field, self.iid_field, self.time_field)
        separator, encoding = self.config["field_separator"], self.config["encoding"]
        check_interaction_file(path, separator=separator, fields=needed, encoding=encoding)
        try:
            super()._load_inter_feat(token, dataset_path)
        except ValueError as error:  # also pandas' parser errors and undecodable bytes
            where = first_bad_line(path, separator=separator, encoding=encoding) or str(error)
            msg = f"{path} must be a table with the types of its header, but: {where}; correct the file."
            raise DataError(msg) from error
        for field in needed:
            if self.inter_feat is None or field not in self.inter_feat:
                msg = (
                    f"Sequences need the field {field!r}, but load_col is {self.config['load_col']}; "
                    "add the field to load_col: {inter: [...]}."
                )
                raise DataError(msg)

    def _reset_index(self) -> None:
        if self.inter_feat.empty:
            msg = (
                f"The filters of data set {self.dataset_name!r} must leave interactions, they left none; "
                "loosen user_inter_num_interval, item_inter_num_interval or val_interval."
            )
            raise DataError(msg)
        super()._reset_index()

    def data_augmentation(self) -> None:
        """Make one row of every interaction that has a predecessor, like RecBole, but without its history."""
        self._aug_presets()
        self._check_field("uid_field", "time_field")
        self.sort(by=[self.uid_field, self.time_field], ascending=True)
        columns: dict[str, Tensor] = dict(self.inter_feat.interaction)
        users = columns[self.uid_field]
        self._flat = columns
        self._list_sources = {
            getattr(self, f"{field}_list_field"): field for field in columns if field != self.uid_field
        }
        position = torch.arange(len(users))
        offset = position - _first_position(users)
        targets = position[offset > 0]
        rows = {field: column[targets] for field, column in columns.items()}
        rows[self.item_list_length_field] = offset[targets].clamp(max=self.max_item_list_len)
        rows[TARGET_POSITION] = targets
        self.inter_feat = Interaction(rows)

    def _drop_unused_col(self) -> None:
        """Drop the columns named by ``unused_col``; a history field among them is no longer gathered."""
        unused = self.config["unused_col"]
        if self._flat is not None and unused is not None and "inter" in unused:
            dropped = set(unused["inter"])
            self._list_sources = {k: v for k, v in self._list_sources.items() if k not in dropped}
        super()._drop_unused_col()

    def _select(self, index: Any) -> dict[str, Tensor]:
        """Return the stored columns of the rows ``index`` (anything that indexes a tensor)."""
        # RecBole turns the index into a Python list and indexes every column with that, which is slow.
        position = index if isinstance(index, (int, slice)) else torch.as_tensor(index)
        if isinstance(position, Tensor) and position.numel() == 0:
            position = position.long()  # an empty list arrives as floats
        return {field: column[position] for field, column in self.inter_feat.interaction.items()}

    def __getitem__(self, index: Any, join: bool = True) -> Interaction:
        """Return the rows ``index`` with their histories, user and item features, as RecBole's class does.

        Args:
            index: Row numbers (array, tensor or list), a mask, a slice or one number.
            join: Whether to add user and item features.
        """
        if self._flat is None:
            return super().__getitem__(index, join)
        rows = self._select(index)
        end = rows.pop(TARGET_POSITION)
        length = rows[self.item_list_length_field]
        for name, source in self._list_sources.items():
            rows[name] = gather_windows(self._flat[source], end - length, length, self.max_item_list_len)
        batch = Interaction(rows)
        return self.join(batch) if join else batch

    def inter_matrix(self, form: str = "coo", value_field: str | None = None) -> Any:
        """Return the sparse user-item matrix of these rows plus the first interaction of every user in them.

        Args:
            form: ``coo`` or ``csr``.
            value_field: Interaction field that gives the values; ones without it.

        Returns:
            A scipy matrix of shape ``(user_num, item_num)``.
        """
        if self._flat is None:
            return super().inter_matrix(form=form, value_field=value_field)
        rows = self.inter_feat
        second = rows[self.item_list_length_field] == 1  # its predecessor is the user's first interaction
        before = rows[TARGET_POSITION][second] - 1
        columns = {self.uid_field: torch.cat([rows[self.uid_field], rows[self.uid_field][second]])}
        for field in self._list_sources.values():
            if field in rows:  # else it is in unused_col
                columns[field] = torch.cat([rows[field], self._flat[field][before]])
        return self._create_sparse_matrix(Interaction(columns), self.uid_field, self.iid_field, form, value_field)

    def earlier_items(self, index: Tensor) -> Tensor:
        """Return all items that precede the targets of the rows ``index``, not only the last few.

        Args:
            index: ``(B,)`` row numbers of this data set.

        Returns:
            ``(B, H)`` int64 item ids, oldest first, padded with 0; ``H`` is the longest of these histories.

        Raises:
            DataError: If the data come as benchmark files, where whole histories are not known.
        """
        items = self._items()
        users = self._columns()[self.uid_field]
        end = self.inter_feat[TARGET_POSITION][index]
        start = torch.searchsorted(users, users[end])  # sorted by user: the user's first interaction
        length = end - start
        return gather_windows(items, start, length, int(length.max()) if len(length) else 0)

    def _items(self) -> Tensor:
        return self._columns()[self.iid_field]

    def _columns(self) -> dict[str, Tensor]:
        if self._flat is None:
            msg = (
                "Whole histories need a data set that is built and not given as benchmark_filename; "
                f"{self.dataset_name!r} has none; call build() first and set benchmark_filename to null."
            )
            raise DataError(msg)
        return self._flat


def _first_position(users: Tensor) -> Tensor:
    """Return, for every entry of the sorted ``users``, the position of the first entry of the same user."""
    return torch.searchsorted(users, users)

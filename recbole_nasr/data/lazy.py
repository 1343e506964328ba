"""RecBole's sequential data set, with histories gathered when a batch is requested.

RecBole copies the history of every interaction into its own row, in a Python loop, for each loaded field. The
rows here keep only the position of their target in the sorted columns, from which a batch gathers the
histories. Rows, field names, dtypes and values are the same; building is vectorised and memory does not grow with
``MAX_ITEM_LIST_LENGTH``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction
from recbole.utils.enum_type import FeatureType
from torch import Tensor

from recbole_nasr.data.atomic import check_interaction_file, first_bad_row
from recbole_nasr.data.compact import load_compact
from recbole_nasr.data.compact_loading import fill_from_compact, reads_compact
from recbole_nasr.data.gather import gather_windows
from recbole_nasr.data.rows import TARGET_POSITION, FlatColumns, TargetRows
from recbole_nasr.data.table import by_appearance
from recbole_nasr.errors import DataError


class LazySequentialDataset(SequentialDataset):  # type: ignore[misc]  # RecBole has no types
    """RecBole's ``SequentialDataset`` with lazily gathered histories.

    Every split of RecBole (leave-one-out, ratio, by time) works unchanged, since it only sorts and selects
    rows. With ``benchmark_filename`` the files already contain the histories, and everything is left to RecBole.
    Prepared data are read as arrays, with the same result.
    """

    inter_feat: Any  # a DataFrame when loaded, an Interaction once built
    _flat: dict[str, Tensor] | None = None  # sorted columns, first dimension = interactions of all users
    _list_sources: dict[str, str]  # name of a history field -> name of its flat column
    _from_arrays = False  # whether the prepared arrays were read, in which nothing is left to filter or to number

    def _load_data(self, token: str, dataset_path: str) -> None:
        self._from_arrays = reads_compact(self.config)
        if self._from_arrays:
            fill_from_compact(self, load_compact(Path(dataset_path)))
        else:
            super()._load_data(token, dataset_path)

    def _data_processing(self) -> None:
        if self._from_arrays:
            self.feat_name_list = self._build_feat_name_list()
        else:
            super()._data_processing()

    def _load_inter_feat(self, token: str, dataset_path: str) -> None:
        if self.benchmark_filename_list is not None:
            super()._load_inter_feat(token, dataset_path)
            return
        path = Path(dataset_path) / f"{token}.inter"
        needed = (self.uid_field, self.iid_field, self.time_field)
        separator, encoding = self.config["field_separator"], self.config["encoding"]
        numbers = [self.time_field]
        check_interaction_file(path, separator=separator, fields=needed, numbers=numbers, encoding=encoding)
        try:
            super()._load_inter_feat(token, dataset_path)
        except ValueError as error:  # also pandas' parser errors and undecodable bytes
            bad = first_bad_row(path, separator=separator, encoding=encoding, errors="backslashreplace")
            where = bad or str(error)
            msg = f"{path} must be a table with the types of its header, but: {where}; correct the file."
            raise DataError(msg) from error
        for field in needed:
            if self.inter_feat is None or field not in self.inter_feat:
                msg = (
                    f"Sequences need the field {field!r}, but load_col is {self.config['load_col']}; "
                    "add the field to load_col: {inter: [...]}."
                )
                raise DataError(msg)
        if self._took_rows_for_others():
            bad = first_bad_row(path, separator=separator, encoding=encoding, finite=numbers)
            msg = f"{path}, {bad or 'a name goes on over several lines'}; correct the file."
            raise DataError(msg)

    def _took_rows_for_others(self) -> bool:
        """Return whether a time is missing, to which RecBole gives the mean, or a quoted name has swallowed rows."""
        rows, time = self.inter_feat, self.inter_feat[self.time_field]
        if self.field2type[self.time_field] == FeatureType.FLOAT and not np.isfinite(time).all():
            return True
        texts = (column for name, column in rows.items() if self.field2type[name] == FeatureType.TOKEN)
        return any(isinstance(name, str) and "\n" in name for column in texts for name in column.unique())

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
        columns: dict[str, Tensor] = self.inter_feat.interaction
        if not _is_sorted(columns[self.uid_field], columns[self.time_field]):
            self.sort(by=[self.uid_field, self.time_field], ascending=True)
        columns = dict(self.inter_feat.interaction)
        users = columns[self.uid_field]
        self._flat = columns
        self._list_sources = {
            getattr(self, f"{field}_list_field"): field for field in columns if field != self.uid_field
        }
        starts = torch.cat([torch.ones(min(1, len(users)), dtype=torch.bool), users[1:] != users[:-1]])
        first = torch.zeros(self.num(self.uid_field), dtype=torch.int64)
        first[users[starts]] = torch.nonzero(starts).squeeze(-1)
        flat = FlatColumns(columns, first, self.uid_field, self.item_list_length_field, self.max_item_list_len)
        self.inter_feat = TargetRows(flat, torch.nonzero(~starts).squeeze(-1), list(columns))

    def leave_one_out(self, group_by: str, leave_one_mode: str) -> list[Any]:
        """Split rows by leave-one-out, with RecBole's result but without building a list of row numbers per user."""
        left_out = {"valid_and_test": 2, "valid_only": 1, "test_only": 1}
        if self._flat is None or leave_one_mode not in left_out:
            return super().leave_one_out(group_by, leave_one_mode)
        parts = _leave_out(self.inter_feat[group_by].numpy(), left_out[leave_one_mode])
        if leave_one_mode != "valid_and_test":
            parts.insert(2 if leave_one_mode == "valid_only" else 1, np.zeros(0, np.int64))
        self._drop_unused_col()
        return [self.copy(self.inter_feat[index]) for index in parts]

    def _drop_unused_col(self) -> None:
        """Drop the columns named by ``unused_col``; a history field among them is no longer gathered."""
        unused = self.config["unused_col"]
        if self._flat is not None and unused is not None and "inter" in unused:
            dropped = set(unused["inter"])
            self._list_sources = {k: v for k, v in self._list_sources.items() if k not in dropped}
        super()._drop_unused_col()

    def _select(self, index: Any) -> dict[str, Tensor]:
        """Return the stored columns of the rows ``index`` (anything that indexes a tensor)."""
        if isinstance(self.inter_feat, TargetRows):
            return self.inter_feat[index].interaction
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
            value_field: Interaction field with the values; without it, all values are 1.

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


def _is_sorted(users: Tensor, times: Tensor) -> bool:
    later = (times[1:] if times.dim() == 1 else times[1:, 0]) >= (times[:-1] if times.dim() == 1 else times[:-1, 0])
    return bool(((users[1:] > users[:-1]) | ((users[1:] == users[:-1]) & later)).all())


def _leave_out(users: Any, number: int) -> list[Any]:
    """Return the row numbers of the parts: for training, then the last ``number`` rows of every user, oldest first.

    A user with fewer rows keeps at least one for training; the others go to the last parts. Users are in order of
    first appearance, as in RecBole.
    """
    kind = np.int32 if len(users) < 1 << 31 else np.int64  # half the memory
    codes = by_appearance(users)[0]
    order = np.argsort(codes, kind="stable").astype(kind)
    sizes = np.bincount(codes)
    ends = np.cumsum(sizes).astype(kind)
    from_end = np.repeat(ends, sizes) - np.arange(1, len(users) + 1, dtype=kind)
    leave = np.repeat(np.minimum(number, sizes - 1).astype(kind), sizes)
    return [order[from_end >= leave], *(order[(from_end == n) & (n < leave)] for n in reversed(range(number)))]

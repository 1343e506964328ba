"""Autoregressive training rows (paper §2.1): one sequence per row, a target at every position."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.utils.enum_type import FeatureSource, FeatureType
from torch import Tensor

from recbole_nasr.data.chunks import TrainingChunks, cut_into_chunks
from recbole_nasr.data.gather import gather_windows
from recbole_nasr.data.lazy import LazySequentialDataset
from recbole_nasr.data.rows import TARGET_POSITION
from recbole_nasr.errors import ConfigError, DataError, did_you_mean

TRAIN_SCHEMES = ("autoregressive", "prefix")


def training_scheme(config: Any) -> str:
    """Return the scheme that a model is trained in.

    Args:
        config: A RecBole ``Config``.

    Raises:
        ConfigError: If ``train_scheme`` is unknown.
        DataError: If the data are benchmark files, but the scheme or the model needs whole histories.
    """
    scheme = config["train_scheme"] or TRAIN_SCHEMES[0]
    if scheme not in TRAIN_SCHEMES:
        hint = did_you_mean(str(scheme), TRAIN_SCHEMES)
        msg = f"train_scheme must be one of {', '.join(TRAIN_SCHEMES)}, not {scheme!r}.{hint}"
        raise ConfigError(msg)
    if config["benchmark_filename"] is None:
        return str(scheme)
    if config["model"] == "NASRSearch":
        msg = (
            f"benchmark_filename of {config['dataset']!r} gives one target per row, but NASRSearch needs whole "
            "histories. Search on <name>.inter without benchmark_filename, then train the architecture here with "
            "model NASR and train_scheme: prefix."
        )
        raise DataError(msg)
    if scheme != "prefix":
        msg = (
            f"benchmark_filename of {config['dataset']!r} gives one target per row and not whole histories, so "
            f"train_scheme must be 'prefix', not {scheme!r}; set train_scheme: prefix."
        )
        raise DataError(msg)
    return str(scheme)


class NASRDataset(LazySequentialDataset):
    """Data set of our models: RecBole's validation and test rows, and training rows with a target at every position.

    Configuration keys:
        train_scheme: ``autoregressive`` (the default) or ``prefix``, RecBole's one row per target.
        group_field: User feature that names the person behind a sequence, for data whose users are windows of
            histories; without that feature every user is a person.
    """

    _chunks: TrainingChunks | None = None
    _prefix_rows: LazySequentialDataset | None = None  # set on the autoregressive view only

    @property
    def target_list_field(self) -> str:
        """Name of the batch field with the targets of a training row, such as ``item_id_target_list``."""
        return f"{self.iid_field}_target{self.config['LIST_SUFFIX']}"

    def build(self) -> list[NASRDataset]:
        """Split the data.

        Returns:
            Training, validation and test part.

        Raises:
            ConfigError: If ``train_scheme`` is unknown.
            DataError: If a part that the split asks for is empty, or the data are benchmark files without the histories
                that are needed.
        """
        scheme = training_scheme(self.config)
        parts: list[NASRDataset] = super().build()
        _check_parts(self.config, self.dataset_name, [len(part) for part in parts])
        parts[0] = parts[0]._for_training(scheme)  # noqa: SLF001  # a part is of this class
        return parts

    @property
    def autoregressive(self) -> bool:
        """Whether the rows are whole training sequences with a target at every position."""
        return self._prefix_rows is not None

    def training_chunks(self) -> TrainingChunks:
        """Return the training sequences, in which every next-item target of the training part occurs exactly once.

        Raises:
            DataError: If this is not the training part of a built data set.
        """
        if self._chunks is None:
            msg = (
                f"Only the training part of {self.dataset_name!r} has training chunks, this is another; "
                "take the first part that build() returns."
            )
            raise DataError(msg)
        return self._chunks

    @property
    def item_counter(self) -> Counter[int]:
        """How often each item is a target of this part."""
        return super().item_counter if self._prefix_rows is None else self._prefix_rows.item_counter

    def inter_matrix(self, form: str = "coo", value_field: str | None = None) -> Any:
        """Return the sparse user-item matrix, the same for both training schemes; see the base class."""
        if self._prefix_rows is not None:
            return self._prefix_rows.inter_matrix(form=form, value_field=value_field)
        return super().inter_matrix(form=form, value_field=value_field)

    def __getitem__(self, index: Any, join: bool = True) -> Interaction:
        """Return the rows ``index``.

        A row of the autoregressive view has ``user_id``, ``item_id`` (the last target), ``item_length``,
        ``item_id_list`` and ``item_id_target_list``; the two lists are padded with 0 on the right.
        User and item features are not joined to it.
        """
        if self._prefix_rows is None:
            return super().__getitem__(index, join)
        rows = self._select(index)
        end, length = rows.pop(TARGET_POSITION), rows[self.item_list_length_field]
        items, start = self._items(), end - length
        rows[self.item_id_list_field] = gather_windows(items, start, length, self.max_item_list_len)
        rows[self.target_list_field] = gather_windows(items, start + 1, length, self.max_item_list_len)
        return Interaction(rows)

    def _for_training(self, scheme: str) -> NASRDataset:
        """Return this training part in the given scheme, with its chunks."""
        if self.benchmark_filename_list is not None:
            return self
        self._chunks = self._cut()
        return self._as_sequences(self._chunks) if scheme == "autoregressive" else self

    def _cut(self) -> TrainingChunks:
        columns = self._columns()
        users = columns[self.uid_field]
        targets = self.inter_feat[TARGET_POSITION].sort().values
        first = torch.searchsorted(users, users[targets])
        start, length = cut_into_chunks(targets, first, self.max_item_list_len)
        return TrainingChunks(self._items(), start, length, self._group(users[start]))

    def _group(self, users: Tensor) -> Tensor:
        """Return the person behind each of the ``users``."""
        field = self.config["group_field"]
        features = self.user_feat
        if not field or features is None or field not in features:
            if "group_field" in self.config.external_config_dict and field:
                msg = (
                    f"group_field must name a user feature that is loaded, {field!r} is none; correct the name, "
                    "or add it to load_col: {user: [...]}."
                )
                raise ConfigError(msg)
            return users
        if self.field2type[field] != FeatureType.TOKEN:
            kind = self.field2type[field].value
            msg = f"group_field must be a token feature, {field!r} is {kind}; name another."
            raise ConfigError(msg)
        group = features[field][users]
        # 0 is a missing value: such users are not one person.
        return torch.where(group > 0, group, self.num(field) + users)

    def _as_sequences(self, chunks: TrainingChunks) -> NASRDataset:
        """Return the autoregressive view of this training part."""
        columns = self._columns()
        end = chunks.start + chunks.length
        rows = {
            self.uid_field: columns[self.uid_field][end],
            self.iid_field: chunks.items[end],
            self.item_list_length_field: chunks.length,
            TARGET_POSITION: end,
        }
        self.set_field_property(
            self.target_list_field, FeatureType.TOKEN_SEQ, FeatureSource.INTERACTION, self.max_item_list_len
        )
        view: NASRDataset = self.copy(Interaction(rows))
        view._prefix_rows = self
        return view


def _check_parts(config: Any, name: str, sizes: list[int]) -> None:
    """Raise an error if a part that the split asks for is empty; RecBole would train and report meaningless numbers."""
    split = config["eval_args"]["split"]
    asked = {
        "test_only": (True, False, True),
        "valid_only": (True, True, False),
    }.get(split.get("LS"), (True, True, True))
    if "RS" in split:
        asked = tuple(ratio > 0 for ratio in split["RS"])
    for part, wanted, size in zip(("training", "validation", "test"), asked, sizes, strict=False):
        if wanted and not size:
            msg = (
                f"The split {split} of {name!r} needs a case in each part, the {part} part has none; "
                "leave-one-out needs at least one sequence of 4 items (one to start from, one each to train, "
                "validate and test): give longer sequences or loosen the filters."
            )
            raise DataError(msg)

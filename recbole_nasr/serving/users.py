"""The history of a user in the data set of a run."""

from __future__ import annotations

from typing import Any

import numpy as np

from recbole_nasr.data.vocabulary import Vocabulary, has_safe_names, original_name
from recbole_nasr.errors import CheckpointError, DataError, did_you_mean
from recbole_nasr.serving.saved import LoadedRun, load_data

_PADDING = "[PAD]"  # RecBole's name of what is no sequence, person or item


def user_history(loaded: LoadedRun, user: str) -> tuple[str, list[str]]:
    """Return all items of a user, oldest first: also those that were kept back for validation and test.

    Where the sequences of the data set are windows of longer histories, a person is known too: by the last window.

    Args:
        loaded: The run.
        user: Original id of a sequence or a person, or what prepared data have in its place.

    Returns:
        Original name of the sequence, and its original item ids.

    Raises:
        DataError: If there is no such user, or the data set cannot be read.
        CheckpointError: If the data are not those of the run.
    """
    dataset = load_data(loaded.config)
    vocabulary = Vocabulary.of(dataset)
    if not np.array_equal(vocabulary.names, loaded.vocabulary.names):
        msg = (
            f"The data set {loaded.config['dataset']!r} in {loaded.config['data_path']} has other items than when "
            f"{loaded.run.folder} was made; put the old data back, or give the history with --items."
        )
        raise CheckpointError(msg)
    name = _sequence(dataset, user)
    return _shown(dataset, name), vocabulary.names[_items_of(dataset, name)].tolist()


def _items_of(dataset: Any, name: str) -> Any:
    """Return the numbers of the items of a sequence; of benchmark files, those of its last row and the target there."""
    rows = dataset.inter_feat
    own = np.flatnonzero(np.asarray(rows[dataset.uid_field]) == dataset.field2token_id[dataset.uid_field][name])
    items = np.asarray(rows[dataset.iid_field])
    if dataset.benchmark_filename_list is not None:
        return np.append(rows[dataset.item_id_list_field].iloc[own[-1]], items[own[-1]])
    return items[own[np.argsort(np.asarray(rows[dataset.time_field])[own], kind="stable")]]


def _shown(dataset: Any, name: str) -> str:
    return original_name(name) if has_safe_names(dataset.config) else name


def _find(dataset: Any, names: Any, user: str) -> str | None:
    """Return the one of ``names`` that ``user`` means, None if there is none.

    As with items, a whole number that is no name is what data write with a point. Outer spaces count where a name has
    them.
    """
    if "%" not in user and user in names and user != _PADDING:
        return user
    by_origin = {_shown(dataset, name): name for name in map(str, names) if name != _PADDING}
    by_origin = {**{name: name for name in by_origin.values()}, **by_origin}  # what the source has comes first
    plain = user.strip()
    return next((by_origin[meant] for meant in (user, f"{user}.0", plain, f"{plain}.0") if meant in by_origin), None)


def _sequence(dataset: Any, user: str) -> str:
    """Return the name of the sequence that ``user`` means: of a person the last one.

    Persons come first, for somebody may be called as a window of another is.
    """
    names = dataset.field2token_id[dataset.uid_field]
    features, field = dataset.user_feat, dataset.config["group_field"]
    persons = dataset.field2token_id[field] if features is not None and field and field in features else {}
    person = _find(dataset, persons, user)
    if person is not None:
        numbers = np.asarray(features[dataset.uid_field])[np.asarray(features[field]) == persons[person]]
        if len(numbers):
            return str(dataset.id2token(dataset.uid_field, int(numbers.max())))
    sequence = _find(dataset, names, user)
    if sequence is not None:
        return sequence
    known = [_shown(dataset, str(name)) for name in (persons or names) if name != _PADDING]
    first = next(_shown(dataset, str(name)) for name in names if name != _PADDING)
    are_windows = bool(persons) and persons.keys() != names.keys()  # else a person is a sequence
    windows = f" (or a window, such as {first!r})" if are_windows else ""
    near = "" if user.isdigit() else did_you_mean(user, known[:100_000])  # numbers are near to any number
    msg = (
        f"The data set {dataset.dataset_name!r} has no user {user!r}; it has {len(known):,}, such as "
        f"{', '.join(map(repr, known[:3]))}{windows}.{near} A new history is given with --items."
    )
    raise DataError(msg)

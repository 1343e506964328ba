"""Which columns of a table of histories are user, item and time: those of the run's own data, or of known names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recbole_nasr.data.layouts import KNOWN_NAMES, TYPED_TAB, bare_name
from recbole_nasr.errors import DataError, did_you_mean

LIST_NAMES = ("items", "item_ids", "item_id_list", "history", "histories")
"""Names of a column with a whole history in each row."""

_KNOWN = {**KNOWN_NAMES, "item": (*KNOWN_NAMES["item"], *LIST_NAMES)}
_FIELDS = {"user": "USER_ID_FIELD", "item": "ITEM_ID_FIELD", "time": "TIME_FIELD"}


@dataclass(frozen=True)
class OwnNames:
    """What the data of a run call their columns.

    Args:
        columns: Names by role (``user``, ``item``, ``time``), the most certain first.
        separator: What separates the columns of their source; None where its ending tells.
    """

    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    separator: str | None = None

    @classmethod
    def of(cls, config: Any) -> OwnNames:
        """Return the names that the configuration of a run has; what is no text is left aside.

        The columns of its source come first, then RecBole's fields.
        """
        keys = {role: (f"{role}_column", name) for role, name in _FIELDS.items()}
        columns = {role: [config[key] for key in both if isinstance(config[key], str)] for role, both in keys.items()}
        separator = config["source_separator"]
        if not isinstance(separator, str):
            return cls(columns)
        return cls(columns, "\t" if separator == TYPED_TAB else separator or None)


NO_NAMES = OwnNames()
"""Of no run."""


def find_column(
    role: str,
    names: Sequence[str],
    chosen: str | None = None,
    own: OwnNames = NO_NAMES,
    *,
    needed: bool = True,
    advice: str = "rename it",
) -> str | None:
    """Return the column for ``role`` (user, item or time).

    Args:
        role: What the column has.
        names: All columns, as they are written.
        chosen: Name given by the user, if any.
        own: Names in the run's data, which come before those that are known.
        needed: Whether it is an error if there is none.
        advice: What to do then.

    Raises:
        DataError: If the chosen one is not there, one is needed and none has a name that is known, or two columns have
            the name that is found.
    """
    plain = {str(name).partition(":")[0]: name for name in names}  # RecBole's headers say the type too
    if chosen is not None:
        if chosen not in plain:
            msg = (
                f"{role}_column={chosen!r} is not a column, there are {', '.join(plain)}.{did_you_mean(chosen, plain)}"
            )
            raise DataError(msg)
        return _only(names, plain[chosen])
    first = own.columns.get(role, ())
    bare = {bare_name(name): original for name, original in plain.items()}
    found = next((plain[name] for name in first if name in plain), None)
    if found is None:
        found = next((bare[bare_name(name)] for name in _KNOWN[role] if bare_name(name) in bare), None)
    if found is None and needed:
        known = dict.fromkeys([*first, *_KNOWN[role][:3]])
        msg = f"A column with the {role} is needed ({', '.join(known)}, ...), there are {', '.join(plain)}; {advice}."
        raise DataError(msg)
    return found and _only(names, found)


def _only(names: Sequence[str], name: str) -> str:
    number = list(names).count(name)
    if number > 1:
        msg = f"{number} columns are called {name!r}, and one of them is needed; rename or drop the others."
        raise DataError(msg)
    return name

"""What `tune` may draw for a key: one of a list of values, or a number of a range."""

from __future__ import annotations

from typing import Any

from recbole_nasr.errors import ConfigError, is_finite

_FORM = "a list of values or {'low': …, 'high': …}, with 'log': True for a logarithmic scale,"


def checked_range(key: str, values: Any, current: Any) -> Any:
    """Return what can be drawn for ``key``, as Optuna can draw it.

    Args:
        key: Named in ``--space``.
        values: What it is given there.
        current: Its value where nothing is drawn; the range of a key that is a fraction has no whole numbers only.

    Raises:
        ConfigError: If ``values`` has another form, or holds no number.
    """
    if isinstance(values, list) and values:
        return values
    if not isinstance(values, dict) or not {"low", "high"} <= {*values} <= {"low", "high", "log"}:
        msg = f"`--space` has {_FORM} for each key, but {key!r} has {values!r}."
        raise ConfigError(msg)
    low, high, log = values["low"], values["high"], values.get("log", False)
    if not (is_finite(low) and is_finite(high) and low <= high and isinstance(log, bool) and (low > 0 or not log)):
        msg = "`--space` needs numbers low <= high, above 0 with 'log', and for 'log' True or False, but "
        msg += f"{key!r} has {values!r}."
        raise ConfigError(msg)
    if isinstance(current, float):
        low, high = float(low), float(high)
    return {"low": low, "high": high, "log": log}

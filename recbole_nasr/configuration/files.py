"""Read and write settings as YAML that RecBole's own loader understands the same way.

Our settings reach RecBole as a file. Its loader reads ``1e-3`` as a number where plain YAML reads a string, so reading
and writing here follow that rule too. A file may come from a stranger: it gives plain data of a bounded size, or one
clear line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from recbole_nasr.documents import check_version
from recbole_nasr.errors import ConfigError

# RecBole's rule for floats (recbole/config/configurator.py, `_build_yaml_loader`).
_FLOAT = re.compile(
    r"""^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)
    |\.[0-9_]+(?:[eE][-+][0-9]+)?
    |[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)


VERSION = 1
"""Of the files of settings that this package writes."""

_VERSION_LINE = re.compile(rb"(?:\xef\xbb\xbf)?# recbole-nasr/settings ([1-9]\d{0,8})\r?\n")
_MOST_BYTES = 1 << 20
_MOST_VALUES = 100_000


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """Plain data only, with RecBole's floats, and no more of them than a file of settings has."""

    def get_single_node(self) -> Any:
        """Return the file as nodes; a few lines of references to references may stand for billions of values."""
        node = super().get_single_node()
        if node is not None and _n_values(node, {}) > _MOST_VALUES:
            msg = f"it stands for more than {_MOST_VALUES:,} values."
            raise yaml.YAMLError(msg)
        return node


def _n_values(node: Any, known: dict[int, int]) -> int:
    """Count the values that a node stands for, those behind references as often as they are referred to.

    A key that stands in a table twice is refused on the way, since of its two values the first would be lost.
    """
    if id(node) in known:
        if not known[id(node)]:
            msg = "a value refers to itself."
            raise yaml.YAMLError(msg)
        return known[id(node)]
    known[id(node)] = 0
    if isinstance(node, yaml.MappingNode):
        _refuse_repeated([key for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
    parts = node.value if isinstance(node, yaml.CollectionNode) else ()
    inner = (one for part in parts for one in (part if isinstance(part, tuple) else (part,)))
    known[id(node)] = 1 + sum(_n_values(one, known) for one in inner)
    return known[id(node)]


def _refuse_repeated(keys: Sequence[Any]) -> None:
    names: set[tuple[str, str]] = set()
    for key in keys:
        if (key.tag, key.value) in names:
            line = key.start_mark.line + 1
            msg = f"the key {key.value!r:.80} stands in one table twice, again in line {line}; keep one."
            raise yaml.YAMLError(msg)
        names.add((key.tag, key.value))


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML has no types
    """Quotes every string that RecBole's loader would read as a float."""


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def read_settings(path: Path | str) -> dict[str, Any]:
    """Read one YAML file of settings.

    Raises:
        ConfigError: If the file is missing, larger than 1 MiB, not UTF-8, not YAML of plain data, or not a table of
            ``key: value`` lines.
        NewerFileError: If a newer version of this package wrote it.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # the latter: a NUL in the name
        msg = f"The configuration file {path} cannot be read: {getattr(error, 'strerror', None) or error}."
        raise ConfigError(msg) from None
    if len(content) > _MOST_BYTES:
        msg = f"A configuration file has at most 1 MiB, but {path} has more; name another file."
        raise ConfigError(msg)
    _check_version(content[:100], path)
    try:
        loaded = yaml.load(content.decode("utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except RecursionError:
        msg = f"The configuration file {path} must be YAML in UTF-8, but cannot be read: it is nested too deeply."
        raise ConfigError(msg) from None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:  # all of them PyYAML's
        reason = " ".join(str(error).split())
        msg = f"The configuration file {path} must be YAML in UTF-8, but cannot be read: {reason}"
        raise ConfigError(msg) from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        msg = f"The configuration file {path} must consist of `key: value` lines, but holds {loaded!r:.60}."
        raise ConfigError(msg)
    return loaded


def _check_version(head: bytes, path: Path | str) -> None:
    """Check the version in the first line of a file that this package wrote; one of a user's own has none."""
    found = _VERSION_LINE.match(head)
    if found:
        check_version(int(found[1]), VERSION, str(path))


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return ``settings``, plain data, as YAML text, keys in order; read back, it gives the same.

    Its first line says the version, as a comment: a key would be one of the settings.
    """
    return f"# recbole-nasr/settings {VERSION}\n" + yaml.dump(
        dict(settings), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110
    )

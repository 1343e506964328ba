"""Read and write settings as YAML that RecBole's own loader understands the same way.

RecBole evaluates strings of its ``config_dict`` and of the command line as Python; strings of a YAML file it
leaves alone. Our settings therefore reach it as a file. Its loader reads ``1e-3`` as a number where plain
YAML reads a string, so reading and writing here follow that rule too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

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


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """Plain data only, with RecBole's floats."""


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML has no types
    """Quotes every string that RecBole's loader would read as a float."""


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def read_settings(path: Path | str) -> dict[str, Any]:
    """Read one YAML file of settings.

    Raises:
        ConfigError: If the file is missing, not UTF-8, not YAML, or not a table of ``key: value`` lines.
    """
    try:
        loaded = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        msg = f"The configuration file {path} cannot be read: {error.strerror}."
        raise ConfigError(msg) from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        msg = f"The configuration file {path} must be YAML in UTF-8, but cannot be read: {reason}"
        raise ConfigError(msg) from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        msg = f"The configuration file {path} must consist of `key: value` lines, but holds {loaded!r:.60}."
        raise ConfigError(msg)
    return loaded


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return ``settings``, plain data, as YAML text, keys in order; read back, it gives the same."""
    return yaml.dump(dict(settings), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)

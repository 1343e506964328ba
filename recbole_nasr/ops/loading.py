"""Operations of the user's own, from a Python file or module."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import shlex
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from recbole_nasr.errors import ArchitectureError, ConfigError, NASRError
from recbole_nasr.ops.base import LayerSettings
from recbole_nasr.ops.contract import check_contract
from recbole_nasr.ops.registry import families_of, known_operations, registering

_LOADED: dict[str, str] = {}
"""Where from -> digest of the content when it was loaded."""


def load_operations(source: str | Path) -> str:
    """Run a Python file or module that registers operations; a file is run again if it has changed, a module never is.

    The code in it runs with all rights of this process: load only what you trust.

    Args:
        source: Path of a ``.py`` file, or the dotted name of an importable module.

    Returns:
        What names it from any folder: the absolute path of the file, or the module name.

    Raises:
        ConfigError: If there is no such file or module, it fails when it is run, it registers no operation, or one
            that breaks the rules of :class:`~recbole_nasr.ops.Operation`.
    """
    origin = locate_operations(source)
    if origin.endswith(".py"):
        digest = hashlib.sha256(Path(origin).read_bytes()).hexdigest()
        if _LOADED.get(origin) != digest:
            _run_file(origin)
        _LOADED[origin] = digest
    elif origin not in _LOADED:
        _import_module(origin)
        _LOADED[origin] = _digest_of_module(origin)
    return origin


def loaded_digest(source: str | Path) -> str:
    """Return the digest of the file or module ``source`` when it was loaded; empty if it has not been.

    That of a package is of all Python files in its folder, since its operations may be in any of them.
    """
    return _LOADED.get(str(source), "")


def are_loaded(source: str | Path) -> bool:
    """Return whether :func:`load_operations` has run ``source`` in this process.

    Raises:
        ConfigError: As :func:`locate_operations`.
    """
    return locate_operations(source) in _LOADED


def locate_operations(source: str | Path) -> str:
    """Return what names ``source`` from any folder, without running it.

    Raises:
        ConfigError: If it is neither an existing file ``….py`` nor a dotted name.
    """
    text = str(source)
    path = Path(text).expanduser().resolve()
    if text.endswith(".py") and path.is_file():
        return str(path)
    if not text.endswith(".py") and all(part.isidentifier() for part in text.split(".")):
        return text
    found = f"there is no file {path}" if text.endswith(".py") else f"is {text!r}"
    msg = f"`ops_module` must be a Python file, ending in .py, or the dotted name of a module, but {found}."
    raise ConfigError(msg)


@contextmanager
def operations_from(origin: str | None) -> Iterator[None]:
    """Say where operations that are unknown inside this context come from.

    A checkpoint names the file that its network needs, but reading one never runs a file.

    Args:
        origin: What :func:`load_operations` returned when the network was made, if it was called.

    Raises:
        ArchitectureError: The one raised inside, with the way out if ``origin`` has not been loaded.
    """
    try:
        yield
    except ArchitectureError as error:
        if origin is None or origin in _LOADED:
            raise
        msg = (
            f"{error} The network was made with the operations of {origin}, which nothing has loaded here: if you "
            f"trust that file, add --ops_module={shlex.quote(origin)} to the command, or in Python call "
            f"recbole_nasr.ops.load_operations({origin!r}) first."
        )
        raise ArchitectureError(msg) from None


def _run_file(origin: str) -> None:
    name = f"recbole_nasr_user_ops_{hashlib.sha256(origin.encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, origin)
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - the file ends in .py
    module = importlib.util.module_from_spec(spec)
    with registering(forget=name):
        before = known_operations()
        sys.modules[name] = module  # dataclasses and pickle look modules up there
        try:
            spec.loader.exec_module(module)
            _check_families(name, before)
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            _refuse(origin, error)


def _import_module(name: str) -> None:
    with registering():
        before, imported = known_operations(), set(sys.modules)
        try:
            importlib.import_module(name)
            _check_families(name, before)
        except (Exception, SystemExit) as error:
            for other in set(sys.modules) - imported:  # once it is mended it is to be run again
                if f"{other}.".startswith(f"{name}."):
                    del sys.modules[other]
            if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
                msg = f"`ops_module`: there is no module {name!r} to import; for a file give its path, ending in .py."
                raise ConfigError(msg) from None
            _refuse(name, error)


def _digest_of_module(name: str) -> str:
    module = sys.modules[name]
    file = Path(getattr(module, "__file__", None) or "")
    files = sorted(file.parent.rglob("*.py")) if hasattr(module, "__path__") else [file]
    digests = [hashlib.sha256(one.read_bytes()).hexdigest() for one in files if one.is_file()]  # none in an archive
    return hashlib.sha256("".join(digests).encode()).hexdigest() if digests else ""


def _check_families(module: str, before: Mapping[str, str]) -> None:
    """Try out the operations that are new, or that ``module`` registered when something else imported it."""
    after = known_operations()
    new = [example for family, example in after.items() if family not in before or family in families_of(module)]
    if not new:
        msg = "it registers no operation; decorate a class with @register_operation."
        raise ConfigError(msg)
    for example in new:
        check_contract(example, LayerSettings())


def _refuse(origin: str, error: BaseException) -> NoReturn:
    """Say where in the file it failed; errors of ours already say why."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == origin]
    line = error.lineno if isinstance(error, SyntaxError) else (lines or [None])[-1]
    what = str(error) if isinstance(error, NASRError) else f"{type(error).__name__}: {error}"
    place = f"line {line}: " if line else ""
    msg = f"`ops_module` {origin} cannot be used: {place}{what}"
    raise ConfigError(msg) from error

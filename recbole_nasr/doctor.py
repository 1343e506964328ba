"""``python -m recbole_nasr.doctor`` says what is installed, which repairs of RecBole are in force, and what is wrong.

It starts where RecBole does not: nothing but the standard library is imported at the top, and every other import is
a finding. ``--json`` prints the same as one JSON object.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from recbole_nasr import __version__

FINE, BROKEN, USAGE = 0, 1, 2

PACKAGES = ("torch", "numpy", "pandas", "scipy", "recbole")
OPTIONAL = ("ray", "hyperopt", "kmeans-pytorch")


@dataclass
class Findings:
    """What `examine` found.

    Attributes:
        versions: Of Python and of each package; None where it is missing.
        repairs: Name and reason of every repair in force.
        devices: Devices that torch can compute on.
        problems: What is broken and what to do, each in one line.
    """

    versions: dict[str, str | None] = field(default_factory=dict)
    repairs: list[dict[str, str]] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is broken."""
        return not self.problems


def examine() -> Findings:
    """Look at this installation; imports and repairs RecBole on the way."""
    found = Findings()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _examine_versions(found)
        _examine_devices(found)
        _examine_recbole(found)
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _examine_versions(found: Findings) -> None:
    found.versions = {"recbole-nasr": __version__, "python": platform.python_version()}
    found.versions.update({name: _version(name) for name in (*PACKAGES, *OPTIONAL)})
    try:
        from packaging.requirements import Requirement
    except ImportError:
        found.problems.append("packaging is missing, so versions were not checked; run `pip install packaging`.")
        return
    for text in _declared():
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        if wanted.name == "recbole" and wanted.marker is not None:
            continue  # for pip, which cannot install 1.2.1 where its ray is missing; it works all the same
        version = _version(wanted.name)
        if version is None:
            found.problems.append(f"{wanted.name} is missing; run `pip install '{wanted.name}{wanted.specifier}'`.")
        elif not wanted.specifier.contains(version, prereleases=True):
            found.problems.append(
                f"{wanted.name} must be {wanted.specifier}, but {version} is installed; run "
                f"`pip install '{wanted.name}{wanted.specifier}'`."
            )


def _declared() -> Sequence[str]:
    """Return what this package says it needs; nothing where it is used from a checkout without installation."""
    try:
        return importlib.metadata.requires("recbole-nasr") or []
    except importlib.metadata.PackageNotFoundError:
        return []


def _examine_devices(found: Findings) -> None:
    try:
        import torch
    except Exception as error:  # whatever it is, the rest of the report is still of use
        found.problems.append(f"torch cannot be imported ({_line(error)}); run `pip install --force-reinstall torch`.")
        return
    n_threads = torch.get_num_threads()
    found.devices.append(f"cpu ({n_threads} thread{'s' * (n_threads != 1)})")
    for number in range(torch.cuda.device_count()):
        found.devices.append(f"cuda:{number} ({torch.cuda.get_device_name(number)})")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if torch.version.cuda and not torch.cuda.is_available() and hidden:
        found.problems.append(
            f"CUDA_VISIBLE_DEVICES is {hidden!r}, but torch finds no GPU there; correct it or unset it."
        )


def _examine_recbole(found: Findings) -> None:
    try:
        from recbole_nasr import compat

        names = compat.apply()
    except Exception as error:
        found.problems.append(
            f"RecBole cannot be imported ({_line(error)}); run `pip install --force-reinstall recbole-nasr`."
        )
        return
    found.repairs = [{"name": repair.name, "why": repair.why} for repair in compat.REPAIRS if repair.name in names]
    try:
        importlib.import_module("recbole_nasr.registration").register()
        from recbole.utils import get_model

        for model in ("NASR", "NASRSearch"):
            get_model(model)
    except Exception as error:
        found.problems.append(
            f"RecBole does not find our models ({_line(error)}); run `pip install --force-reinstall recbole-nasr`."
        )


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def as_text(found: Findings) -> str:
    """Return the findings as lines for the screen."""
    lines = ["versions"]
    lines += [
        f"  {name:<15} {version or 'missing'}" for name, version in found.versions.items() if _worth(name, version)
    ]
    lines += ["devices", *(f"  {device}" for device in found.devices or ["none"])]
    lines += ["repairs of RecBole in force", *(f"  {r['name']:<29} {r['why']}" for r in found.repairs or [])]
    lines += ["problems", *(f"  {problem}" for problem in found.problems)] if found.problems else ["nothing is wrong"]
    return "\n".join(lines)


def _worth(name: str, version: str | None) -> bool:
    return version is not None or name not in OPTIONAL


def main(argv: Sequence[str] | None = None) -> int:
    """Print what was found.

    Args:
        argv: ``--json`` or nothing; the words of this process when left out.

    Returns:
        0 when nothing is wrong, 1 when something is broken, 2 for any other word.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words not in ([], ["--json"]):
        sys.stderr.write(f"error: the doctor takes --json or nothing, not {' '.join(words)!r}.\n")
        return USAGE
    sys.argv = sys.argv[:1]  # RecBole takes every --key it finds there for one of its own
    found = examine()
    report: dict[str, Any] = {**asdict(found), "ok": found.ok}
    sys.stdout.write((json.dumps(report, indent=2) if words else as_text(found)) + "\n")
    return FINE if found.ok else BROKEN


if __name__ == "__main__":
    sys.exit(main())

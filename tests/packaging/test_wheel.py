from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

import recbole_nasr

tomllib = pytest.importorskip("tomllib", reason="part of Python from 3.11 on")
pytest.importorskip("hatchling", reason="builds the wheel with it")

ROOT = Path(__file__).parents[2]
SOURCES = ("recbole_nasr", "properties", "dataset_configs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in a wheel built from a copy of the sources, without network."""
    from hatchling.builders.wheel import WheelBuilder

    checkout = tmp_path_factory.mktemp("checkout")
    for folder in (*SOURCES, "tests"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, checkout / file)
    (built,) = WheelBuilder(str(checkout)).build(directory=str(checkout / "dist"), versions=["standard"])
    with zipfile.ZipFile(built) as archive:
        return archive.namelist()


def in_checkout(folder: str, pattern: str) -> set[str]:
    return {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob(pattern) if "__pycache__" not in path.parts}


@pytest.mark.parametrize("folder", ["properties", "dataset_configs"])
def test_the_wheel_has_every_yaml_file_inside_the_package(wheel: list[str], folder: str) -> None:
    expected = {f"recbole_nasr/{name}" for name in in_checkout(folder, "*.yaml")}
    assert expected
    assert expected <= set(wheel)


def test_the_wheel_has_every_module(wheel: list[str]) -> None:
    assert in_checkout("recbole_nasr", "*.py") <= set(wheel)


def test_nothing_but_the_package_lands_at_the_top(wheel: list[str]) -> None:
    tops = {name.split("/")[0] for name in wheel}
    assert tops == {"recbole_nasr", f"recbole_nasr-{recbole_nasr.__version__}.dist-info"}


def test_the_wheel_has_the_licence_and_the_command(wheel: list[str]) -> None:
    assert any(name.endswith("licenses/LICENSE") for name in wheel)
    assert any(name.endswith("entry_points.txt") for name in wheel)


def test_the_version_stands_twice_and_is_the_same() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == recbole_nasr.__version__


def test_every_dependency_is_pinned_in_the_constraints() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    for requirement in map(Requirement, wanted):
        assert versions[canonicalize_name(requirement.name)] in requirement.specifier, requirement
    assert "ray" not in versions
    assert all(pin.specifier for pin in pins)

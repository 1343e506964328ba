"""The file of results: written after every case, so that nothing measured is lost, and gone on with."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.speed.sections import sections

FINISHED = "finished"


class OtherResultsError(ValueError):
    """Results of another machine or scale are not gone on with."""


@dataclass
class Results:
    """Results as they come, written after every case, so that nothing measured is lost.

    Args:
        path: JSON file; nothing is written if not given.
        content: What it holds.
    """

    path: Path | None
    content: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path | None) -> Results:
        """Go on with the results in ``path``, if there are any."""
        if path is not None and path.is_file():
            return cls(path, read(path))
        return cls(path, {"cases": []})

    def begin(self, **facts: Any) -> None:
        """Note what holds for this run."""
        self.content.update(facts)
        self._write()

    def check_same(self, **facts: Any) -> None:
        """Refuse to go on with the results of another machine or scale.

        Raises:
            OtherResultsError: If they are that.
        """
        for name, value in facts.items():
            known = self.content.get(name, value)
            if known != value:
                msg = f"--resume goes on with results of the same {name}, but those in {self.path} have another one."
                raise OtherResultsError(msg)

    @property
    def ended(self) -> dict[str, str]:
        """How each section ended: ``finished``, or why it did not."""
        found: dict[str, str] = self.content.setdefault("sections", {})
        return found

    def forget(self, section: str) -> None:
        """Drop the cases of a section that is about to be measured; note it where it had been finished before."""
        if self.ended.get(section) == FINISHED:
            self.content["again"] = sorted({*self.content.get("again", ()), section})
        self.content["cases"] = [case for case in self.content["cases"] if case["section"] != section]
        self.ended[section] = "interrupted"
        self._write()

    def end(self, section: str, how: str) -> None:
        """Note how a section ended."""
        self.ended[section] = how
        self._write()

    def add(self, case: dict[str, Any]) -> None:
        """Keep a case, sections in their usual order."""
        order = list(sections())
        self.content["cases"].append(case)
        self.content["cases"].sort(key=lambda one: order.index(one["section"]))
        self._write()

    def _write(self) -> None:
        if self.path is None:
            return
        fresh = self.path.with_suffix(".fresh")  # a run may be killed at any time
        fresh.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")
        fresh.replace(self.path)


def read(path: Path | None) -> Any:
    """Return the results in ``path``, if one is given."""
    return json.loads(path.read_text(encoding="utf-8")) if path else None

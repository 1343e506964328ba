"""One network, written down: an operation name per layer, in blocks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_nasr.documents import check_version, parse_json, write_whole
from recbole_nasr.errors import ArchitectureError, NewerFileError
from recbole_nasr.ops.registry import operation_class

SCHEMA = "recbole-nasr/architecture"
SCHEMA_VERSION = 1
MAX_LAYERS = 1024
"""Of an architecture or a search space."""

_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Architecture:
    """One path per block; immutable and hashable.

    The text form puts ``,`` between layers and ``/`` between blocks; the JSON form carries a schema version.

    Args:
        blocks: Operation names, per block and layer. No block may be empty, no name unknown.

    Raises:
        ArchitectureError: If a block is empty, there are more than 1,024 layers, or a name is unknown.

    Example:
        >>> architecture = Architecture.parse("transformer_h4,tcn_d1_2/transformer_h8")
        >>> architecture.blocks
        (('transformer_h4', 'tcn_d1_2'), ('transformer_h8',))
        >>> str(architecture)
        'transformer_h4,tcn_d1_2/transformer_h8'
    """

    blocks: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        blocks = tuple(tuple(block) for block in self.blocks)
        object.__setattr__(self, "blocks", blocks)
        if not blocks or not all(blocks):
            msg = "An architecture needs at least one block, and every block at least one layer."
            raise ArchitectureError(msg)
        if len(self.layers) > MAX_LAYERS:
            msg = f"An architecture may have at most {MAX_LAYERS} layers, but got {len(self.layers)}."
            raise ArchitectureError(msg)
        for name in set(self.layers):
            operation_class(name)

    @property
    def layers(self) -> tuple[str, ...]:
        """Operation names of all layers, first to last."""
        return tuple(name for block in self.blocks for name in block)

    def __str__(self) -> str:
        return "/".join(",".join(block) for block in self.blocks)

    def stretched(self, n_layers: int) -> Architecture:
        """Return a deeper or shallower architecture of the same shape.

        New layer ``j`` of ``m`` is old layer ``floor(j · n / m)`` of ``n``, in the block that layer is in: with twice
        as many layers each stands twice, one behind the other, and what was at the beginning or the end stays there.

        Args:
            n_layers: Layers of the new architecture, at least 1. A block of which no layer is left is left out.

        Raises:
            ArchitectureError: If there are no or too many layers.

        Example:
            >>> str(Architecture.parse("tcn_d1_2,transformer_h4/transformer_h8").stretched(6))
            'tcn_d1_2,tcn_d1_2,transformer_h4,transformer_h4/transformer_h8,transformer_h8'
        """
        if not 1 <= n_layers <= MAX_LAYERS:
            msg = f"An architecture has 1 to {MAX_LAYERS} layers, but n_layers is {n_layers}."
            raise ArchitectureError(msg)
        owners = [number for number, block in enumerate(self.blocks) for _ in block]
        old = [place * len(owners) // n_layers for place in range(n_layers)]
        blocks = [
            tuple(self.layers[place] for place in old if owners[place] == number) for number in range(len(self.blocks))
        ]
        return Architecture(tuple(block for block in blocks if block))

    @classmethod
    def parse(cls, text: str) -> Architecture:
        """Read the text form.

        Raises:
            ArchitectureError: If a name is unknown or missing.
        """
        return cls(tuple(tuple(name.strip() for name in block.split(",")) for block in text.split("/")))

    @classmethod
    def from_nested(cls, value: Any) -> Architecture:
        """Read a list of operation names (one block) or a list of such lists.

        Raises:
            ArchitectureError: If the value is anything else.
        """
        if isinstance(value, (list, tuple)) and value:
            if all(isinstance(name, str) for name in value):
                return cls((tuple(value),))
            if all(isinstance(block, (list, tuple)) for block in value) and all(
                isinstance(name, str) for block in value for name in block
            ):
                return cls(tuple(tuple(block) for block in value))
        msg = f"An architecture must be a list of operation names or a list of such lists, but got {value!r:.80}."
        raise ArchitectureError(msg)

    def to_nested(self) -> list[list[str]]:
        """Return the blocks as lists: the form in which RecBole's configuration carries an architecture."""
        return [list(block) for block in self.blocks]

    def to_json(self, metadata: Mapping[str, Any] | None = None) -> str:
        """Return the JSON form; ``metadata`` is kept beside the blocks and ignored when read."""
        content = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, "blocks": self.to_nested()}
        return json.dumps({**content, "metadata": dict(metadata or {})}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """Read the JSON form.

        Raises:
            ArchitectureError: If it is not JSON, has no blocks, or was written by a newer version.
        """
        try:
            content = parse_json(text)
        except ValueError as error:
            msg = f"An architecture file must be JSON, but this one cannot be read: {error}."
            raise ArchitectureError(msg) from None
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            msg = f'An architecture file must have "schema": "{SCHEMA}"; this one is something else.'
            raise ArchitectureError(msg)
        try:
            check_version(content.get("schema_version"), SCHEMA_VERSION, "This architecture file")
        except (ValueError, NewerFileError) as error:
            raise ArchitectureError(str(error)) from None
        return cls.from_nested(content.get("blocks"))

    def save(self, path: Path | str, metadata: Mapping[str, Any] | None = None) -> None:
        """Write the JSON form to ``path``, whole or not at all.

        Raises:
            WriteError: If it cannot be written.
        """
        write_whole(Path(path), self.to_json(metadata).encode("utf-8"))

    @classmethod
    def load(cls, path: Path | str) -> Architecture:
        """Read a file written by :meth:`save`.

        Raises:
            ArchitectureError: If the file is missing, larger than 1 MiB, not text, or not an architecture.
        """
        source = Path(path)
        try:
            if source.stat().st_size > _MAX_BYTES:
                msg = f"An architecture file is at most 1 MiB, but {source} is larger."
                raise ArchitectureError(msg)
            text = source.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:  # the latter: not UTF-8, or a NUL in the name
            msg = f"The architecture file {source} cannot be read: {error}."
            raise ArchitectureError(msg) from None
        try:
            return cls.from_json(text)
        except ArchitectureError as error:
            msg = f"{source}: {error}"
            raise ArchitectureError(msg) from None

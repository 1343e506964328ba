"""The empty layer, which lets a search choose the depth of a network."""

from __future__ import annotations

from torch import Tensor

from recbole_nasr.ops.base import LayerSettings, Operation
from recbole_nasr.ops.registry import register_operation


@register_operation("skip", r"skip", example="skip")
class SkipOperation(Operation):
    """No layer at all: ``H ← H``.

    Note:
        "Zero" and "identity" are candidates of most search spaces since DARTS (Liu et al., ICLR 2019, §3.1). On a
        residual stream the two are the same.
    """

    def __init__(self, settings: LayerSettings) -> None:  # noqa: ARG002 - as all operations are built
        super().__init__()

    @classmethod
    def flops(cls, settings: LayerSettings, length: int) -> int:  # noqa: ARG003 - the signature of all
        """Return 0."""
        return 0

    def forward(self, hidden: Tensor) -> Tensor:
        """Return ``hidden`` itself."""
        return hidden

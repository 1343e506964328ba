"""Candidate operations: what one layer of a network can be. Importing this package registers all of them."""

from recbole_nasr.ops import convolution, recurrent, transformer
from recbole_nasr.ops.base import LayerSettings, Operation
from recbole_nasr.ops.registry import build_operation, operation_class, validate_operation

__all__ = [
    "LayerSettings",
    "Operation",
    "build_operation",
    "convolution",
    "operation_class",
    "recurrent",
    "transformer",
    "validate_operation",
]

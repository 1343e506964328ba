"""Candidate operations: what one layer of a network can be. Importing this package registers all of them."""

from recbole_nasr.ops import (
    convolution,
    depthwise,
    feed_forward,
    gated_attention,
    gru,
    hstu,
    lru,
    recurrent,
    skip,
    transformer,
)
from recbole_nasr.ops.base import GatedBranch, GatedResidual, LayerSettings, Operation
from recbole_nasr.ops.contract import check_own
from recbole_nasr.ops.loading import are_loaded, load_operations, locate_operations, operations_from
from recbole_nasr.ops.registry import build_operation, operation_class, register_operation, validate_operation

__all__ = [
    "GatedBranch",
    "GatedResidual",
    "LayerSettings",
    "Operation",
    "are_loaded",
    "build_operation",
    "check_own",
    "convolution",
    "depthwise",
    "feed_forward",
    "gated_attention",
    "gru",
    "hstu",
    "load_operations",
    "locate_operations",
    "lru",
    "operation_class",
    "operations_from",
    "recurrent",
    "register_operation",
    "skip",
    "transformer",
    "validate_operation",
]

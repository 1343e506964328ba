"""The names of architectures (§4.1.3), apart from what they mean: help shows them without torch."""

from __future__ import annotations

UNIFORM = {
    "sasrec-1": "transformer_h4",
    "sasrec-2": "transformer_h8",
    "nextitnet-1": "tcn_d1_2",
    "nextitnet-2": "tcn_d1_4",
}
"""Preset -> the operation in every layer."""

PRESETS = (*UNIFORM, "alternating", "gru4rec", "random")

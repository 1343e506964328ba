"""The devices on which torch has fused optimisers."""

FUSED_DEVICES = ("cpu", "cuda")
"""Types of devices with a fused Adam and AdamW, which is faster and never reads a value back to the host."""

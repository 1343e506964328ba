"""Data sets: lazily gathered sequential rows, the autoregressive view, and the preparation of raw interactions."""

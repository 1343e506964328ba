"""Data sets: RecBole's rows gathered lazily, the autoregressive view, the preparation of ``ml``."""

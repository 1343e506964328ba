"""Experiments of many runs: what to run, Optuna to run it, one record per run, tables and statistics."""

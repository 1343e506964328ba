"""Measure every part of the package beside its floor and its peers: ``python benchmarks/bench.py --help``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.speed.command import main

if __name__ == "__main__":
    sys.exit(main())

"""``python -m recbole_nasr``: the command line, also for ``torchrun -m recbole_nasr`` where nothing is checked out."""

from recbole_nasr.start import main

if __name__ == "__main__":
    raise SystemExit(main())

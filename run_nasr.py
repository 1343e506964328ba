"""Run the command line from a checkout: ``python run_nasr.py --help``."""

from recbole_nasr.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

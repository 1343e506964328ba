"""Run the command line from a checkout: ``python run_nasr.py --help``."""

import sys

try:
    from recbole_nasr.cli import main
except KeyboardInterrupt:  # torch and RecBole take seconds to import
    sys.stderr.write("error: interrupted.\n")
    raise SystemExit(130) from None

if __name__ == "__main__":
    raise SystemExit(main())

"""Run the command line from a checkout: ``python run_nasr.py --help``."""

import sys

if __name__ == "__main__":
    try:
        from recbole_nasr.start import main

        raise SystemExit(main())
    except KeyboardInterrupt:  # torch and RecBole take seconds to import; later the command line says more
        sys.stderr.write("error: interrupted.\n")
        raise SystemExit(130) from None

"""Run the command line from a checkout: ``python run_nasr.py --help``."""

if __name__ == "__main__":
    from recbole_nasr.start import main

    raise SystemExit(main())

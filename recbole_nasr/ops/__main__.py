"""``python -m recbole_nasr.ops``: what every operation is and costs, as a Markdown table."""

from __future__ import annotations

import argparse
import sys

from recbole_nasr.errors import ConfigError, NASRError
from recbole_nasr.ops.base import LayerSettings
from recbole_nasr.ops.loading import load_operations
from recbole_nasr.ops.registry import build_operation, known_operations, operation_class, operation_flops


def cost_table(settings: LayerSettings, length: int) -> str:
    """Return one row per family, cheapest first: a name, what it is, parameters, FLOPs for ``length`` items.

    Raises:
        ConfigError: If there is no item.
        ArchitectureError: If an operation does not fit the settings.
    """
    if length < 1:
        msg = f"A sequence has at least one item, but `length` is {length}; raise it."
        raise ConfigError(msg)
    costs = []
    for name in known_operations().values():
        parameters = sum(weight.numel() for weight in build_operation(name, settings).parameters())
        what = (operation_class(name)[0].__doc__ or "").strip().partition("\n")[0].replace("|", r"\|")
        costs.append((operation_flops(name, settings, length), parameters, name, what))
    rows = [f"| `{name}` | {what} | {parameters:,} | {flops:,} |" for flops, parameters, name, what in sorted(costs)]
    return "\n".join(["| operation | what it does | parameters | FLOPs |", "| --- | --- | ---: | ---: |", *rows])


def main() -> int:
    """Print the table; return 0, or 2 after an error of the user."""
    parser = argparse.ArgumentParser(prog="python -m recbole_nasr.ops", description=__doc__, allow_abbrev=False)
    parser.add_argument("--hidden_size", type=int, default=64, help="width of the network (default: 64)")
    parser.add_argument("--length", type=int, default=30, help="items of a sequence (default: 30)")
    parser.add_argument("--ops_module", help="a Python file or module with operations of your own")
    options = parser.parse_args()
    try:
        if options.ops_module:
            load_operations(options.ops_module)
        table = cost_table(LayerSettings(hidden_size=options.hidden_size), options.length)
    except NASRError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(table + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

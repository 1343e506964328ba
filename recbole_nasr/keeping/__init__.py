"""Work that can be stopped at any moment and continued: its state is saved regularly, and read back."""

from recbole_nasr.keeping.files import DamagedStateError, StateError, packed, read_state, unpacked, write_state
from recbole_nasr.keeping.keeper import Keeper
from recbole_nasr.keeping.plain import plain, rebuilt
from recbole_nasr.keeping.randomness import random_state, set_random_state
from recbole_nasr.keeping.stopping import Terminated, signals_stop

__all__ = [
    "DamagedStateError",
    "Keeper",
    "StateError",
    "Terminated",
    "packed",
    "plain",
    "random_state",
    "read_state",
    "rebuilt",
    "set_random_state",
    "signals_stop",
    "unpacked",
    "write_state",
]

"""Signs of life: how the processes of one run notice that another is gone, long before torch's time limit.

A process that was killed is noticed at once, since its connections break. One that was stopped, or whose machine no
longer answers, breaks nothing: the others wait in a collective call until torch gives up, 30 minutes with gloo. So each
has a thread that counts up in a store all can reach. The thread runs while the process computes, and stands still when
the process does. It cannot tell a process that computes from one in an endless loop: for that torch's limit remains.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import psutil
from torch import distributed as dist

from recbole_nasr.errors import ConfigError, is_finite

LOST_AFTER_S = 20.0
"""torchrun and `torch.multiprocessing` may give what is left 30 s more to end: a minute in all."""

LOST = 2
"""Exit code of a process that ends because another one is lost."""

_BEATS = 10
_PARTING_S = 5.0
_SHORTEST_S, _LONGEST_S = 1, 86_400
_GONE = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def check_lost_after(value: Any) -> float:
    """Return the key ``lost_after`` as seconds.

    Raises:
        ConfigError: If it is no number in its range.
    """
    if not is_finite(value) or not (value == 0 or _SHORTEST_S <= value <= _LONGEST_S):
        msg = (
            f"`lost_after` is the number of seconds without a sign of life after which a process counts as lost, from "
            f"{_SHORTEST_S} to {_LONGEST_S}, or 0 to wait as long as torch does, but is {value!r}."
        )
        raise ConfigError(msg)
    return float(value)


class Store(Protocol):
    """What is needed of a store of torch.distributed."""

    def set(self, key: str, value: str) -> None:
        """Write."""

    def multi_get(self, keys: list[str]) -> Sequence[bytes]:
        """Return the values of keys, all of which were written before."""


@dataclass(frozen=True)
class Identity:
    """What a process says of itself, so that others of its machine can find it.

    Args:
        host: Name of its machine.
        pid: Its number there.
        started: When it was started, in seconds since 1970.
    """

    host: str
    pid: int
    started: float

    @classmethod
    def of_this_process(cls) -> Identity:
        """Return that of the calling process."""
        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time())

    def visible(self) -> psutil.Process | None:
        """Return the process if it can be seen from here; containers may share a name and not see each other."""
        if self.host != socket.gethostname():
            return None
        try:
            process = psutil.Process(self.pid)
            return process if abs(process.create_time() - self.started) < 2 else None
        except psutil.Error:
            return None


class Watch:
    """Decides who is lost, in rounds of its own rather than by a clock.

    A process that was itself stopped for an hour, as with Ctrl-Z, has watched no round meanwhile and finds nobody lost.

    Args:
        own: Number of this process.
        processes: All of them, as the system here knows them; ``None`` for one that cannot be seen from here.
        rounds: So many without a sign of life are too many.
    """

    def __init__(self, own: int, processes: Sequence[psutil.Process | None], rounds: int = _BEATS) -> None:
        self._own, self._processes, self._rounds = own, processes, rounds
        self._heard = [b""] * len(processes)
        self._silent = [0] * len(processes)

    def hear(self, beats: Sequence[bytes]) -> None:
        """Take in the count of every process; one that has gone on is a sign of life."""
        for number, beat in enumerate(beats):
            if beat != self._heard[number]:
                self._heard[number], self._silent[number] = beat, 0

    def round(self) -> list[int]:
        """Let a round pass; return the processes that are lost.

        One that is silent but seen to be neither stopped nor dead is not: a single long call can hold Python's lock,
        and keep the thread that gives the sign from running.
        """
        self._silent = [silent + 1 for silent in self._silent]
        return [number for number, silent in enumerate(self._silent) if silent > self._rounds and self._gone(number)]

    def end(self, lost: Sequence[int]) -> None:
        """Kill those of ``lost`` that can be seen from here: whoever started them would first ask a stopped process."""
        for process in (self._processes[number] for number in lost):
            with suppress(psutil.Error):
                if process is not None:
                    process.kill()

    def _gone(self, number: int) -> bool:
        process = self._processes[number]
        if process is None or number == self._own:
            return number != self._own
        try:
            return not process.is_running() or process.status() in _GONE
        except psutil.Error:
            return True


class Heartbeat:
    """Gives the signs of life of this process, and watches those of the others until it is stopped.

    Args:
        store: Reaches all processes; a connection of its own, since torch may wait in the one it uses.
        number: Of this process.
        identities: Of all processes.
        lost_after: Seconds without a sign.
        on_loss: Called, in a thread, with those that are lost.
    """

    def __init__(
        self,
        store: Store,
        number: int,
        identities: Sequence[Identity],
        lost_after: float,
        on_loss: Callable[[list[int]], None],
    ) -> None:
        self._store, self._number, self._on_loss = store, number, on_loss
        self._keys = [f"recbole-nasr/beat/{other}" for other in range(len(identities))]
        self._watch = Watch(number, [identity.visible() for identity in identities])
        self._interval = lost_after / _BEATS
        self._over = threading.Event()
        # Two threads: one waits for an answer of the store, which may be what is lost, and the other counts meanwhile.
        self._threads = [
            threading.Thread(target=target, name="recbole-nasr-heartbeat", daemon=True)
            for target in (self._talk, self._look)
        ]
        self._beat(0)

    def start(self) -> None:
        """Begin, once every process has made its own."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Watch no longer, and wait until both threads have ended, but not long for a store that does not answer.

        Python ends a thread that is still in a call of torch by unwinding its C++ frames, which aborts the process.
        """
        self._over.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_PARTING_S)

    def _beat(self, count: int) -> None:
        self._store.set(self._keys[self._number], str(count))

    def _talk(self) -> None:
        count = 0
        while not self._over.wait(self._interval):
            count += 1
            with suppress(RuntimeError):  # a store that is gone is silent, and :class:`Watch` decides what that means
                self._beat(count)
                self._watch.hear(self._store.multi_get(self._keys))

    def _look(self) -> None:
        while not self._over.wait(self._interval):
            lost = self._watch.round()
            if lost and not self._over.is_set():
                self._watch.end(lost)
                self._on_loss(lost)


def connect(host: str, port: int) -> Store:
    """Return a connection of its own to the store at which the processes have met."""
    timeout = timedelta(seconds=60)
    store: Store = dist.TCPStore(host, port, is_master=False, timeout=timeout)  # type: ignore[attr-defined]  # its types lack it
    return store


def end_process(lost: Sequence[int], n_processes: int, lost_after: float) -> None:
    """Say in one line who is lost, and end this process at once; its main thread waits where nothing reaches it."""
    who = f"process {lost[0]}" if len(lost) == 1 else f"processes {', '.join(map(str, lost))}"
    line = (
        f"error: The processes of a run work together to its end, but {who} of {n_processes} gave no sign of life for "
        f"{lost_after:g} s: stopped, or on a machine that does not answer. What was saved is kept, and the same "
        "command goes on. (`lost_after` is this number of seconds; 0 waits as long as torch does.)\n"
    )
    with suppress(OSError):
        os.write(2, line.encode())  # not through Python's own stream, which the main thread may hold
    os._exit(LOST)

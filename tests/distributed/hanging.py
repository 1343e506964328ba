"""One of two processes, of which one stops dead: ``python hanging.py NUMBER STOPPED FD``.

The second first keeps Python's lock, and with it every thread of its own, until the other has watched for three times
as long as a silent process is waited for: it computes and is not lost. FD is a pipe by which it is told.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import sys

import torch

from recbole_nasr import distributed, heartbeat

LOST_AFTER_S = 0.5

number, stopped, pipe = map(int, sys.argv[1:])
rounds = itertools.count(1)
watched = heartbeat.Watch.round


def count(watch: heartbeat.Watch) -> list[int]:
    """Tell the second process when the first has watched for long enough."""
    if number == 0 and next(rounds) == 3 * heartbeat._BEATS:
        os.write(pipe, b"x")
    return watched(watch)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


heartbeat.Watch.round = count
distributed.join(rank=number, world_size=2, device=torch.device("cpu"), lost_after=LOST_AFTER_S)
if number == 1:
    ctypes.PyDLL(None).read(pipe, ctypes.create_string_buffer(1), 1)  # unlike `CDLL`, it does not let go of the lock
distributed.from_all(None)
say("after a long computation")
if number == stopped:
    os.kill(os.getpid(), signal.SIGSTOP)
distributed.from_all(None)
say("together at the end")
distributed.leave()

"""A process that hangs ends the others within the time that was asked for; one that computes does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from recbole.config import Config

from recbole_nasr import distributed, heartbeat
from recbole_nasr.errors import ConfigError
from recbole_nasr.heartbeat import LOST, Heartbeat, Identity, Watch
from recbole_nasr.processes import launch, workers
from recbole_nasr.quick_start import held_port, run
from recbole_nasr.request.request import build_request

JOB = Path(__file__).with_name("hanging.py")
BEFORE_A_HANG_IS_A_HANG_OF_THE_TEST_S = 240


class Seen:
    """A process as the system sees it."""

    def __init__(self, status: str = psutil.STATUS_RUNNING, *, runs: bool = True) -> None:
        self.now, self.runs = status, runs

    def is_running(self) -> bool:
        return self.runs

    def status(self) -> str:
        if self.now == "denied":
            raise psutil.NoSuchProcess(1)
        return self.now


def rounds_until(watch: Watch, *beats: list[bytes]) -> list[list[int]]:
    """Let a round pass after each of ``beats`` was heard; return who was lost in each."""
    lost = []
    for beat in beats:
        watch.hear(beat)
        lost.append(watch.round())
    return lost


def test_who_cannot_be_seen_is_lost_after_so_many_rounds_without_a_sign_and_not_one_earlier() -> None:
    watch = Watch(0, [None, None, None], rounds=2)
    beats = [[b"%d" % n, b"7", b"%d" % (n // 2)] for n in range(6)]
    assert rounds_until(watch, *beats) == [[], [], [1], [1], [1], [1]]


def test_a_sign_of_life_begins_the_count_anew() -> None:
    watch = Watch(0, [None, None], rounds=2)
    assert rounds_until(watch, *([b"0", beat] for beat in (b"1", b"1", b"2", b"2", b"2"))) == [[], [], [], [], [1]]


@pytest.mark.parametrize(
    ("seen", "is_lost"),
    [
        (Seen(psutil.STATUS_RUNNING), False),
        (Seen(psutil.STATUS_SLEEPING), False),
        (Seen(psutil.STATUS_DISK_SLEEP), False),
        (Seen(psutil.STATUS_STOPPED), True),
        (Seen(psutil.STATUS_TRACING_STOP), True),
        (Seen(psutil.STATUS_ZOMBIE), True),
        (Seen(runs=False), True),
        (Seen("denied"), True),
    ],
)
def test_a_silent_process_that_is_seen_is_lost_only_if_it_is_stopped_or_dead(seen: Any, is_lost: bool) -> None:
    watch = Watch(0, [None, seen], rounds=1)
    assert rounds_until(watch, [b"", b""], [b"", b""])[-1] == [1] * is_lost


def test_a_process_that_gives_signs_is_never_asked_for_its_state() -> None:
    watch = Watch(0, [None, Seen(psutil.STATUS_STOPPED)], rounds=1)
    assert rounds_until(watch, *([b"", b"%d" % n] for n in range(5))) == [[]] * 5


def test_a_process_finds_itself_by_what_it_says_of_itself_and_no_other_in_its_place() -> None:
    own = Identity.of_this_process()
    found = own.visible()
    assert found is not None
    assert found.pid == os.getpid()
    assert Identity(own.host + "-2", own.pid, own.started).visible() is None
    assert Identity(own.host, own.pid, own.started - 100).visible() is None  # the number was given out again
    assert Identity(own.host, 2**22 + 1, own.started).visible() is None


class SlowStore:
    """A store whose answers take a while, as those of torch do, in a call that Python cannot end."""

    def __init__(self) -> None:
        self.asked, self.inside = threading.Event(), False

    def set(self, key: str, value: str) -> None:
        """Take it."""

    def multi_get(self, keys: list[str]) -> Sequence[bytes]:
        """Answer late."""
        self.inside = True
        self.asked.set()
        time.sleep(0.2)
        self.inside = False
        return [b""] * len(keys)


def test_once_stopped_no_thread_is_in_a_call_of_the_store_that_would_abort_the_process_at_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heartbeat, "_PARTING_S", BEFORE_A_HANG_IS_A_HANG_OF_THE_TEST_S)
    store = SlowStore()
    signs = Heartbeat(store, 0, [Identity.of_this_process()], lost_after=0.1, on_loss=lambda _lost: None)
    signs.start()
    assert store.asked.wait(BEFORE_A_HANG_IS_A_HANG_OF_THE_TEST_S)
    signs.stop()
    assert not store.inside
    assert not any(thread.name == "recbole-nasr-heartbeat" for thread in threading.enumerate())


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system stops no process")
@pytest.mark.parametrize("stopped", [0, 1])
def test_a_process_that_is_stopped_ends_the_other_with_a_message_and_one_that_computes_does_not(stopped: int) -> None:
    told, tell = os.pipe()
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    other = 1 - stopped
    with held_port() as port:
        place = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
        processes = [
            subprocess.Popen(
                [sys.executable, str(JOB), str(number), str(stopped), str(pipe)],
                env={**os.environ, **paths, **place},
                pass_fds=[pipe],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number, pipe in enumerate((tell, told))
        ]
        try:
            out, err = processes[other].communicate(timeout=BEFORE_A_HANG_IS_A_HANG_OF_THE_TEST_S)
            assert processes[stopped].wait(timeout=BEFORE_A_HANG_IS_A_HANG_OF_THE_TEST_S) == -signal.SIGKILL
        finally:
            for process in processes:
                process.kill()
                process.communicate()
            os.close(told)
            os.close(tell)
    assert (out, processes[other].returncode) == ("after a long computation\n", LOST), err
    assert f"but process {stopped} of 2 gave no sign of life for 0.5 s" in err
    assert err.count("error: ") == 1


@pytest.mark.parametrize("value", [-1, 0.5, 86_401, True, "20", float("nan"), [20], None, 10**18])
def test_the_time_is_in_its_range_or_refused_before_anything_starts(
    value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="`lost_after` is the number of seconds"):
        build_request({"model": "NASR", "dataset": "ml", "lost_after": value})
    with pytest.raises(ConfigError, match="`lost_after` is the number of seconds"):
        run("NASR", "toy", config_dict={"lost_after": value}, nproc=2)


def test_the_time_reaches_the_processes_of_torchrun_and_those_of_run(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[float] = []
    monkeypatch.setattr(distributed, "join", lambda *, lost_after, **_others: joined.append(lost_after))
    monkeypatch.setattr(launch.Launch, "of_this_process", lambda: launch.Launch(1, 1, 2, 2))
    with launch.joined_processes(
        "cpu", "", build_request({"model": "NASR", "dataset": "ml", "lost_after": 3}).lost_after
    ):
        pass
    place = {"local_rank": 1, "nproc": 2, "offset": 0, "world_size": 2, "ip": "first", "port": "1", "gpu_id": ""}
    with workers.in_several_processes(0):
        Config(
            "SASRec",
            "toy",
            config_dict={"data_path": str(toy), **place, "lost_after": 4, "train_neg_sample_args": None},
        )
        Config("NASR", "toy", config_dict={"data_path": str(toy), **place})
    assert joined == [3, 4, 20]

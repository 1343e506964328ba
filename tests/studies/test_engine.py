from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from filelock import Timeout
from optuna.trial import TrialState

from recbole_nasr.errors import ConfigError
from recbole_nasr.keeping.stopping import Terminated, signals_stop
from recbole_nasr.report.study_figure import save_optuna_plots
from recbole_nasr.studies.engine import Engine
from recbole_nasr.studies.plan import Cell
from recbole_nasr.studies.queue import KILLED_OFTEN, TrialQueue
from recbole_nasr.studies.ranges import checked_range
from recbole_nasr.studies.record import ResultRecord
from recbole_nasr.studies.request import StudyRequest
from recbole_nasr.studies.running import Draw
from recbole_nasr.studies.storage import open_study, study_lock
from recbole_nasr.studies.trials import Follower, choice, is_dead, this_process

from .conftest import Worker, record_of

Build = Callable[..., Engine]
PATIENCE_S = 600  # on a machine that does much else; nothing is waited for that does not come
SQLITE = "--storage=sqlite:///study.db"


def test_every_run_is_made_once_in_order_and_none_again(engine: Build, cells: list[Cell]) -> None:
    first, second = Worker(), Worker()
    engine(first).run()
    again = engine(second)
    again.run()
    assert first.ran == [cell.key for cell in cells]
    assert second.ran == []
    assert len(again.queue.finished()) == 4
    assert again.queue.unfinished() == 0


def test_a_database_keeps_a_study_too(engine: Build) -> None:
    engine(Worker(), SQLITE).run()
    assert len(engine(Worker(), SQLITE).queue.finished()) == 4


def test_more_seeds_add_runs_to_a_study(engine: Build, cells: list[Cell]) -> None:
    engine(Worker(), of=cells[:2]).run()
    worker = Worker()
    engine(worker, "--seeds=[1, 2]").run()
    assert worker.ran == [cell.key for cell in cells[2:]]


def test_a_failed_run_keeps_its_reason_and_is_tried_again_only_when_asked(engine: Build, cells: list[Cell]) -> None:
    one = engine(Worker(fails="Random"))
    one.run()
    assert one.queue.failures() == [(cell.key, "MemoryError: no room") for cell in cells if cell.label == "Random"]
    assert len(one.queue.finished()) == 2
    worker = Worker()
    engine(worker).run()
    assert worker.ran == []
    patient = engine(worker, "--retry_failed")
    patient.run()
    assert worker.ran == [cell.key for cell in cells if cell.label == "Random"]
    assert patient.queue.failures() == []


@pytest.mark.parametrize(
    ("valid", "why"),
    [
        ({}, "KeyError: 'ndcg@2'"),
        ({"ndcg@2": math.nan}, "The validation score of a run must be finite, but is nan; see its run folder runs/r."),
        ({"ndcg@2": None}, "The validation score of a run must be finite, but is None; see its run folder runs/r."),
    ],
    ids=["missing", "not a number", "not a number, in a file"],
)
def test_a_run_whose_result_cannot_be_stored_keeps_the_reason_and_is_not_tried_again(
    valid: dict[str, Any], why: str, engine: Build, cells: list[Cell]
) -> None:
    def made(cell: Cell, *_: object) -> tuple[ResultRecord, bool]:
        return record_of(cell, valid=valid, run="runs/r"), False

    one = engine(made, of=cells[:1])
    one.run()
    assert one.queue.failures() == [(cells[0].key, why)]
    assert one.queue.unfinished() == 0
    worker = Worker()
    engine(worker, of=cells[:1]).run()
    assert worker.ran == []


def _train(asked: StudyRequest, cells: list[Cell], worker: Any) -> None:
    Engine(TrialQueue(asked, open_study(asked), cells), worker).run()


class _KillsItself:
    def __call__(self, cell: Cell, *_: object) -> tuple[ResultRecord, bool]:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class _WritesDown:
    """Appends what it runs to a file, and lets the other process have its turn."""

    def __init__(self, barrier: Any) -> None:
        self.barrier, self.has_run = barrier, False

    def __call__(self, cell: Cell, *_: object) -> tuple[ResultRecord, bool]:
        with Path("ran.txt").open("a") as file:
            file.write(f"{os.getpid()} {cell.key}\n")
        if not self.has_run:  # both have taken a trial before either finishes one; the rest goes to whoever comes first
            self.has_run = True
            self.barrier.wait(timeout=PATIENCE_S)
        return record_of(cell), False


def _start(function: Callable[..., None], *arguments: Any) -> Any:
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    return process


def test_a_killed_trial_is_marked_failed_and_run_again(
    ask: Callable[..., StudyRequest], engine: Build, cells: list[Cell]
) -> None:
    killed = _start(_train, ask("table2", SQLITE), cells, _KillsItself())
    killed.join(PATIENCE_S)
    assert killed.exitcode == -signal.SIGKILL
    worker = Worker()
    after = engine(worker, SQLITE)
    after.run()
    assert sorted(worker.ran) == sorted(cell.key for cell in cells)
    states = [trial.state for trial in after.queue.study.trials]
    assert states.count(TrialState.FAIL) == 1
    assert states.count(TrialState.COMPLETE) == 4
    assert after.queue.failures() == []


def test_a_process_that_another_one_took_for_lost_ends_its_run_and_goes_on(
    engine: Build, cells: list[Cell], caplog: pytest.LogCaptureFixture
) -> None:
    class TakenForLost(Worker):
        def __call__(self, cell: Cell, architecture: str, follower: Follower) -> tuple[ResultRecord, bool]:
            if not self.ran:
                (own,) = study.get_trials(states=(TrialState.RUNNING,))
                study.tell(own.number, state=TrialState.FAIL)
                follower(0, 0.5)
            return super().__call__(cell, architecture, follower)

    one = engine(TakenForLost(), of=cells[:2])
    study = one.queue.study
    one.run()
    assert sorted(one.run_cell.ran) == sorted([cells[0].key, cells[0].key, cells[1].key])
    assert one.queue.failures() == []
    assert "Another process took trial 0 for lost" in caplog.text


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")  # of `ask`, which stands for the other machine here
def test_the_last_run_of_a_study_is_made_again_when_its_machine_has_fallen_silent(
    engine: Build, cells: list[Cell]
) -> None:
    worker = Worker()
    one = engine(worker, SQLITE, of=cells[:1])
    one.queue.fill(retry=False)
    lost = one.queue.study.ask()
    lost.set_user_attr("process", {"host": "elsewhere", "pid": 1, "started": 0.0})
    one.queue.study._storage.record_heartbeat(lost._trial_id)
    one.run()
    assert (worker.ran, one.queue.unfinished()) == ([], 1)  # it may be running there
    with closing(sqlite3.connect("study.db")) as database:
        database.execute("UPDATE trial_heartbeats SET heartbeat = datetime(heartbeat, '-1 hour')")
        database.commit()
    one.run()
    assert (worker.ran, one.queue.unfinished()) == ([cells[0].key], 0)


def test_a_run_that_kills_its_process_again_and_again_is_given_up(
    ask: Callable[..., StudyRequest], engine: Build, cells: list[Cell]
) -> None:
    for _ in range(KILLED_OFTEN):
        assert engine(Worker(), of=cells[:1]).queue.failures() == []
        _start(_train, ask("table2", "--storage=study.log"), cells[:1], _KillsItself()).join(PATIENCE_S)
    worker = Worker()
    after = engine(worker, of=cells[:1])
    after.run()
    assert worker.ran == []
    assert after.queue.failures() == [(cells[0].key, "its process was killed 5 times without getting any further")]


class _GetsFurther:
    """Goes on from where an earlier process of the run was killed, and is killed one step later."""

    def __call__(self, cell: Cell, _architecture: str, follower: Follower) -> tuple[ResultRecord, bool]:
        state = Path("state.txt")
        steps = state.read_text() if state.is_file() else ""
        follower.begins(steps)
        state.write_text(steps + "+")
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_a_run_that_is_killed_often_but_gets_further_each_time_is_not_given_up(
    ask: Callable[..., StudyRequest], engine: Build, cells: list[Cell]
) -> None:
    for _ in range(KILLED_OFTEN + 1):
        _start(_train, ask("table2", "--storage=study.log"), cells[:1], _GetsFurther()).join(PATIENCE_S)
    worker = Worker()
    after = engine(worker, of=cells[:1])
    assert after.queue.failures() == []
    after.run()
    assert worker.ran == [cells[0].key]


def test_a_killed_process_counts_as_dead_before_its_parent_takes_note() -> None:
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    facts = {**this_process(), "pid": child}
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # it has ended, and is still to be waited for
    assert is_dead(facts)
    os.waitpid(child, 0)
    assert is_dead(facts)
    assert not is_dead(this_process())


def test_a_storage_is_checked_and_set_up_by_one_process_at_a_time(
    ask: Callable[..., StudyRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A database that another process is still filling with tables looks like one of something else.
    asked, checked = ask("table2", SQLITE), []

    def check(path: Path) -> None:
        with pytest.raises(Timeout):
            study_lock(asked).acquire(timeout=0)
        checked.append(path.name)

    monkeypatch.setattr("recbole_nasr.studies.storage.check_database", check)
    assert "settings" in open_study(asked).user_attrs
    assert len(checked) == 1


@pytest.mark.parametrize("storage", [SQLITE, "--storage=study.log"], ids=["SQLite", "journal file"])
def test_two_processes_share_a_study_and_run_nothing_twice(
    storage: str, ask: Callable[..., StudyRequest], cells: list[Cell]
) -> None:
    barrier = multiprocessing.get_context("fork").Barrier(2)
    workers = [_start(_train, ask("table2", storage), cells, _WritesDown(barrier)) for _ in range(2)]
    for worker in workers:
        worker.join(PATIENCE_S)
    assert [worker.exitcode for worker in workers] == [0, 0]
    lines = [line.split(" ", 1) for line in Path("ran.txt").read_text().splitlines()]
    assert sorted(key for _, key in lines) == sorted(cell.key for cell in cells)
    assert sorted(lines.count(line) for line in lines) == [1, 1, 1, 1]
    assert len({pid for pid, _ in lines}) == 2


def test_a_run_that_another_machine_has_queued_too_is_left_to_the_earlier_trial(
    engine: Build, cells: list[Cell]
) -> None:
    worker = Worker()
    one = engine(worker, of=cells[:1])
    for _ in range(2):
        one.queue.study.enqueue_trial(
            {"row": "SASRec-1", "dataset": "toy", "seed": 1}, user_attrs={"cell": cells[0].key}
        )
    one.run()
    assert worker.ran == [cells[0].key]
    assert one.queue.failures() == []


def test_an_interruption_is_no_failure_and_the_run_is_made_again(engine: Build, cells: list[Cell]) -> None:
    def interrupt(*_: object) -> Any:
        raise KeyboardInterrupt

    stopped = engine(interrupt)
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    assert stopped.queue.unfinished() == 4
    assert stopped.queue.failures() == []
    worker = Worker()
    engine(worker).run()
    assert sorted(worker.ran) == sorted(cell.key for cell in cells)


def test_a_run_waits_for_the_architecture_it_needs_and_is_given_it(engine: Build) -> None:
    search = Cell("NASR", "NASRSearch", "toy", {}, 1)
    needy = Cell("Random", "NASR", "toy", {}, 1, needs=search.key)
    worker = Worker()
    found = engine(worker, of=[needy, search])
    found.run()
    assert worker.ran == [search.key, needy.key]
    assert found.queue.finished()[1].user_attrs["architecture"] == f"found by {search.key}"


def test_a_number_of_runs_is_that_of_those_that_are_made(engine: Build, cells: list[Cell]) -> None:
    worker = Worker()
    known = {cells[0].key, cells[2].key}

    def run(cell: Cell, architecture: str, on_validation: Any) -> Any:
        record, _ = worker(cell, architecture, on_validation)
        return record, cell.key in known

    engine(run, "--n_trials=1").run()
    assert worker.ran == [cell.key for cell in cells[:2]]  # the first was there already


def test_a_run_whose_search_has_failed_is_no_run_that_is_left(engine: Build) -> None:
    search = Cell("NASR", "NASRSearch", "toy", {}, 1)
    needy = Cell("Random", "NASR", "toy", {}, 1, needs=search.key)
    lost = engine(Worker(fails="NASR"), of=[needy, search])
    lost.run()
    assert lost.queue.unfinished() == 0  # the same command would not make it
    assert lost.queue.failures() == [
        (search.key, "MemoryError: no room"),
        (needy.key, f"it needs what {search.key} was to find"),
    ]
    worker = Worker()
    again = engine(worker, "--retry_failed", of=[needy, search])
    again.run()
    assert worker.ran == [search.key, needy.key]
    assert (again.queue.unfinished(), again.queue.failures()) == (0, [])


def test_budgets_end_a_command_and_the_next_goes_on(engine: Build, cells: list[Cell]) -> None:
    worker = Worker()
    engine(worker, "--n_trials=3").run()
    assert len(worker.ran) == 3
    spent = engine(worker, "--time_budget=0s")
    spent.run()
    assert (len(worker.ran), spent.queue.unfinished()) == (3, 1)
    engine(worker).run()
    assert worker.ran == [cell.key for cell in cells]


def test_other_settings_are_refused_with_the_difference(ask: Callable[..., StudyRequest]) -> None:
    open_study(ask("table2", "--epochs=3"))
    with pytest.raises(ConfigError, match="--epochs: then 3, now 5"):
        open_study(ask("table2", "--epochs=5"))
    open_study(ask("table2", "--epochs=5", "--run_name=longer"))


def test_what_is_left_of_tuning_are_the_trials_that_have_no_result_yet(ask: Callable[..., StudyRequest]) -> None:
    asked = ask("tune", "--space={'learning_rate': [0.001, 0.003]}", "--storage=tune.log", "--n_trials=3")
    draw = Draw(asked, {}, asked.definition.space)

    def interrupt(*_: object) -> Any:
        raise KeyboardInterrupt

    stopped = Engine(TrialQueue(asked, open_study(asked), [], draw), interrupt)
    assert stopped.queue.unfinished() == 3
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    assert stopped.queue.unfinished() == 3
    one = Engine(TrialQueue(asked, open_study(asked), [], draw), Worker())
    one.queue.study.optimize(lambda _: 0.5, n_trials=1)
    assert one.queue.unfinished() == 2
    one.run()
    assert one.queue.unfinished() == 0


def test_a_signal_that_comes_while_a_result_is_stored_waits_for_it(
    engine: Build, cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = engine(Worker(), of=cells[:2])
    storage = one.queue.study._storage
    store = storage.set_trial_state_values

    def stored(trial_id: int, state: TrialState, values: Any = None) -> bool:
        if state == TrialState.COMPLETE:
            os.kill(os.getpid(), signal.SIGTERM)
        return bool(store(trial_id, state, values))

    monkeypatch.setattr(storage, "set_trial_state_values", stored)
    with signals_stop(), pytest.raises(Terminated):
        one.run()
    assert [trial.state for trial in one.queue.study.trials][:1] == [TrialState.COMPLETE]
    assert one.queue.unfinished() == 1


def test_points_that_cannot_be_drawn_fail_with_their_reason_and_end_the_study(
    ask: Callable[..., StudyRequest],
) -> None:
    asked = ask("tune", "--space={'n_layers': {'low': 4, 'high': 2}}", "--storage=tune.log", "--n_trials=2")
    draw = Draw(asked, {}, {"n_layers": {"low": 4, "high": 2, "log": False}})
    worker = Worker()
    one = Engine(TrialQueue(asked, open_study(asked), [], draw), worker)
    one.run()
    assert worker.ran == []
    assert one.queue.unfinished() == 0
    ((name, reason),) = one.queue.failures()
    assert name == "a point that cannot be drawn"
    assert reason.startswith("ValueError")


def test_tuning_may_draw_lists_and_tables(ask: Callable[..., StudyRequest]) -> None:
    space = {"augmentations": [["mask"], ["crop", "mask"]], "clip_grad_norm": [{"max_norm": 1}, {"max_norm": 5}]}
    asked = ask("tune", f"--space={space}", "--storage=tune.log", "--n_trials=6")
    study, draw = open_study(asked), Draw(asked, {}, space)
    for _ in range(6):
        trial = study.ask()
        point = draw(trial).point
        assert all(point[key] in values for key, values in space.items())
        assert trial.params == {key: choice(value) for key, value in point.items()}
        study.tell(trial, 0.5)
    assert {trial.params["augmentations"] for trial in study.trials} == {"mask", "crop+mask"}
    assert save_optuna_plots(study, Path())  # Optuna can draw what it can hash


def test_a_range_of_a_fraction_has_more_than_its_whole_numbers() -> None:
    assert checked_range("weight_decay", {"low": 0, "high": 1}, current=0.0) == {"low": 0.0, "high": 1.0, "log": False}
    assert isinstance(checked_range("weight_decay", {"low": 0, "high": 1}, current=0.0)["low"], float)
    assert isinstance(checked_range("n_layers", {"low": 1, "high": 4}, current=16)["low"], int)


def test_tuning_that_was_interrupted_draws_what_it_would_have_drawn(ask: Callable[..., StudyRequest]) -> None:
    class Falling(Worker):
        lives = 1e9

        def __call__(self, cell: Cell, architecture: str, follower: Follower) -> tuple[ResultRecord, bool]:
            self.lives -= 1
            if self.lives < 0:
                raise KeyboardInterrupt
            return super().__call__(cell, architecture, follower)

    space = "--space={'learning_rate': {'low': 0.0001, 'high': 0.01, 'log': True}}"
    drawn = []
    for name, lives in {"at a stretch": [9], "interrupted": [2, 0, 1, 9]}.items():
        worker = Falling()
        for worker.lives in lives:
            asked = ask("tune", space, f"--storage={name}.log", "--n_trials=6")
            one = Engine(TrialQueue(asked, open_study(asked), [], Draw(asked, {}, asked.definition.space)), worker)
            with suppress(KeyboardInterrupt):
                one.run()
        drawn.append([trial.params["learning_rate"] for trial in one.queue.finished()])
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 6


def test_a_tuned_point_depends_on_the_number_of_its_trial_alone(ask: Callable[..., StudyRequest]) -> None:
    space = "--space={'learning_rate': {'low': 0.0001, 'high': 0.01, 'log': True}}"
    drawn: dict[str, list[float]] = {}
    for name, processes in {"at a stretch": [4], "interrupted": [1, 3]}.items():
        for count in processes:
            asked = ask("tune", space, f"--storage={name}.log")
            draw = Draw(asked, {}, asked.definition.space)
            study = open_study(asked)
            for _ in range(count):
                trial = study.ask()
                drawn.setdefault(name, []).append(draw(trial).point["learning_rate"])
                study.tell(trial, 0.5)
    assert drawn["interrupted"] == drawn["at a stretch"]
    assert len(set(drawn["at a stretch"])) == 4

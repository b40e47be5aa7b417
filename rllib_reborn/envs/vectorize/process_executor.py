"""Games in processes of their own, for those that calculate, crash or hang."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import util
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.envs.team_game import TeamGame
from rllib_reborn.envs.vectorize.game_executor import Failure, Failures, GameExecutor, ResultBuffers
from rllib_reborn.envs.vectorize.local_executors import SerialExecutor
from rllib_reborn.limits import CLOSE_GAMES_S, GAME_PROCESS_START_S, GAME_STEP_S, SLOW_CALL_FACTOR


class ProcessExecutor(GameExecutor):
    """Child processes, each with a contiguous share of the games; a dead or hanging one is restarted when one of its
    games is needed."""

    def __init__(
        self,
        make_game: Callable[[], TeamGame],
        spec: TeamSpec,
        out: ResultBuffers,
        processes: int,
        step_timeout_s: float | None,
    ) -> None:
        self._out, self._rows = out, range(len(out.reward))
        try:
            pickled = pickle.dumps(make_game)
        except Exception as error:
            raise ValueError(
                f"make_game is {make_game!r}, which cannot be sent to another process ({error}); give a function at the top "
                "level of an importable module, or a functools.partial of one, or use other workers than 'processes'."
            ) from error
        bounds = [len(self._rows) * k // processes for k in range(processes + 1)]
        self._workers = [
            _Worker(pickled, spec, range(first, end), step_timeout_s) for first, end in itertools.pairwise(bounds)
        ]
        # When this object is forgotten, and at the end of the program before multiprocessing waits for its children.
        self._end = util.Finalize(self, _end_all, args=(self._workers,), exitpriority=10)

    def reset(self, seeds: Mapping[int, int]) -> Failures:
        asked = {
            worker: ("reset", ({row - worker.first: seeds[row] for row in worker.rows if row in seeds},))
            for worker in self._workers
            if any(row in seeds for row in worker.rows)
        }
        answers, failures = self._ask(asked, slow=True)
        for worker, arrays in answers.items():
            good = [row for row in worker.rows if row in seeds and row not in failures]
            self._take(worker, good, arrays)
        return failures

    def step(self, rows: Sequence[int], actions: npt.NDArray[np.integer[Any]]) -> Failures:
        wanted = set(rows)
        asked = {}
        for worker in self._workers:
            mine = [row - worker.first for row in worker.rows if row in wanted]
            if mine:
                asked[worker] = ("step", (mine, actions[worker.first : worker.rows.stop]))
        answers, failures = self._ask(asked, slow=False)
        for worker, arrays in answers.items():
            self._take(worker, [row for row in worker.rows if row in wanted and row not in failures], arrays)
        return failures

    def get_states(self) -> tuple[list[Any], Failures]:
        answers, failures = self._ask(dict.fromkeys(self._workers, ("get_states", ())), slow=True)
        states: list[Any] = [None] * len(self._rows)
        for worker, share in answers.items():
            states[worker.first : worker.rows.stop] = share
        return states, failures

    def set_states(self, states: Sequence[Any]) -> Failures:
        asked = {worker: ("set_states", (states[worker.first : worker.rows.stop],)) for worker in self._workers}
        answers, failures = self._ask(asked, slow=True)
        for worker, arrays in answers.items():
            self._take(worker, [row for row in worker.rows if row not in failures], arrays)
        return failures

    def provenance(self) -> tuple[list[Mapping[str, str]], Failures]:
        answers, failures = self._ask(dict.fromkeys(self._workers, ("provenance", ())), slow=True)
        return [one for share in answers.values() for one in share], failures

    def render(self, row: int) -> tuple[Any, Failures]:
        worker = next(worker for worker in self._workers if row in worker.rows)
        answers, failures = self._ask({worker: ("render", (row - worker.first,))}, slow=True)
        # Where its neighbours died with it, the game that was asked comes first.
        return answers.get(worker), dict(sorted(failures.items(), key=lambda item: item[0] != row))

    def close(self) -> None:
        self._end()

    def _ask(
        self, asked: Mapping[_Worker, tuple[str, tuple[Any, ...]]], *, slow: bool
    ) -> tuple[dict[_Worker, Any], Failures]:
        """All workers at the same time: their answers, and what failed by row (all rows of a worker that is lost)."""
        try:
            return self._answers(asked, slow=slow)
        except BaseException:
            # Answers that are still on their way would be taken for those to the next request.
            for worker in asked:
                worker.end(0.0)
            raise

    def _answers(
        self, asked: Mapping[_Worker, tuple[str, tuple[Any, ...]]], *, slow: bool
    ) -> tuple[dict[_Worker, Any], Failures]:
        failures: Failures = {}
        answers: dict[_Worker, Any] = {}
        lost: dict[_Worker, str] = {}
        for worker, (method, arguments) in asked.items():
            try:
                worker.send(method, arguments)
            except _LostWorkerError as error:
                lost[worker] = str(error)
        for worker in asked:
            if worker in lost:
                continue
            try:
                broken, answers[worker] = worker.receive(slow=slow)
            except _LostWorkerError as error:
                lost[worker] = str(error)
            else:
                failures |= {row + worker.first: failure for row, failure in broken.items()}
        for worker, sentence in lost.items():
            failures |= {row: Failure(sentence, sentence) for row in worker.rows}
        return answers, failures

    def _take(self, worker: _Worker, rows: list[int], arrays: tuple[npt.NDArray[Any], ...]) -> None:
        """Copy a worker's rows; those of games that failed keep their last good observation."""
        if len(rows) == len(worker.rows):
            for mine, theirs in zip(self._out.arrays(), arrays):
                mine[worker.first : worker.rows.stop] = theirs
        elif rows:
            local = [row - worker.first for row in rows]
            for mine, theirs in zip(self._out.arrays(), arrays):
                mine[rows] = theirs[local]


class _LostWorkerError(Exception):
    """A child process is dead, or was ended because it took too long; the message is a sentence."""


class _Worker:
    """The parent's side of one child process, which is started when it is first needed."""

    def __init__(self, pickled: bytes, spec: TeamSpec, rows: range, step_timeout_s: float | None) -> None:
        self.rows, self.first = rows, rows.start
        self._pickled, self._spec, self._step_timeout_s = pickled, spec, step_timeout_s
        self._process: Any = None
        self._pipe: Connection | None = None
        self._up = False

    def send(self, method: str, arguments: tuple[Any, ...]) -> None:
        """Ask; the process is started where there is none.

        Raises:
            _LostWorkerError: It is dead.
        """
        if self._process is None:
            self._start()
        assert self._pipe is not None
        try:
            self._pipe.send((method, arguments))
        except OSError:
            raise _LostWorkerError(self._end_as("died")) from None

    def receive(self, *, slow: bool) -> Any:
        """The answer.

        Raises:
            _LostWorkerError: The process is dead, or took too long and was ended.
        """
        if not self._up:
            start_error = self._next(GAME_PROCESS_START_S, "start")
            if start_error is not None:
                raise _LostWorkerError(f"{self._end_as('gave up')}: {start_error}")
            self._up = True
        patience = self._step_timeout_s
        if patience is None:
            patience = GAME_STEP_S
        else:
            patience *= len(self.rows) * (SLOW_CALL_FACTOR if slow else 1)
        return self._next(patience, "answer")

    def end(self, patience_s: float) -> None:
        """End the process and what its games have started, after a grace for a clean end."""
        process, pipe, self._process, self._pipe = self._process, self._pipe, None, None
        self._up = False
        if process is None:
            return
        assert pipe is not None
        # Reading (and dropping) what is still on its way, because a child that cannot write does not end. Not with join():
        # that would free the process id, by which the group is ended below.
        deadline = time.monotonic() + patience_s
        try:
            while pipe.poll(max(0.0, deadline - time.monotonic())) and time.monotonic() < deadline:
                pipe.recv_bytes()
        except (EOFError, OSError):
            pass
        _kill_group(process.pid)
        process.kill()
        process.join()
        pipe.close()

    def ask_to_close(self) -> None:
        if self._pipe is not None:
            # Where it is dead already there is nothing left to ask for.
            with contextlib.suppress(OSError):
                self._pipe.send(("close", ()))

    def _start(self) -> None:
        # Spawned: Ray's processes have threads, and a fork of a process with threads may deadlock.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        name = f"team-games-{self.rows[0]}-{self.rows[-1]}"
        arguments = (theirs, self._pickled, self._spec, len(self.rows))
        process = context.Process(target=_serve, args=arguments, name=name, daemon=True)
        process.start()
        theirs.close()
        self._pipe, self._process = ours, process

    def _next(self, patience_s: float, what: str) -> Any:
        assert self._pipe is not None
        try:
            if self._pipe.poll(patience_s):
                return self._pipe.recv()
        except (EOFError, OSError):
            raise _LostWorkerError(self._end_as("died")) from None
        raise _LostWorkerError(self._end_as(f"did not {what} within {patience_s:g} s and was ended"))

    def _end_as(self, what: str) -> str:
        """End the process; returns the sentence that it ``what``."""
        process, up = self._process, self._up
        if what == "died":
            wait([process.sentinel], 1.0)  # its pipe closes a moment before it exits, with a code that tells why
        self.end(0.0)
        if what == "died":
            what += f" with exit code {process.exitcode}" + ("" if up else " while starting; standard error says why")
        games = f"games {self.rows[0]} to {self.rows[-1]}" if len(self.rows) > 1 else f"game {self.rows[0]}"
        return f"the process {process.pid} of {games} {what}"


def _end_all(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.ask_to_close()
    deadline = time.monotonic() + CLOSE_GAMES_S
    for worker in workers:
        worker.end(max(0.0, deadline - time.monotonic()))


def _serve(pipe: Connection, pickled: bytes, spec: TeamSpec, count: int) -> None:
    """The child process: plays ``count`` games, and answers ``(failures by row, answer)`` to every request."""
    _end_with_parent()
    try:
        make_game = pickle.loads(pickled)
    except Exception:
        pipe.send(f"make_game could not be unpickled there:\n{traceback.format_exc()}")
        return
    out = ResultBuffers(spec, count)
    games = SerialExecutor(make_game, spec, out)
    try:
        pipe.send(None)  # up
        while True:
            method, arguments = pipe.recv()
            if method == "close":
                return
            answer = getattr(games, method)(*arguments)
            if isinstance(answer, dict):
                failures, content = answer, out.arrays() if method == "step" else tuple(out.team_obs)
            else:
                content, failures = answer
            failures = {row: failure.as_data() for row, failure in failures.items()}
            try:
                pipe.send((failures, content))
            except (TypeError, AttributeError, pickle.PicklingError) as error:
                # A state or picture of strange objects. Nothing was sent, so that an answer is still owed.
                unsent = Failure.of(error, gone=False).as_data()
                pipe.send((dict.fromkeys(range(count), unsent), [None] * count))
    except (EOFError, OSError):
        pass  # the parent is gone, or has given this process up
    finally:
        games.close()


def _end_with_parent() -> None:
    """From now on this process and what its games start (one process group) end when the parent process does.

    Not by PR_SET_PDEATHSIG: it fires already when the *thread* that started this process ends (RLlib trains on a thread of
    its own per iteration while it evaluates), and it would leave alone the programs that games have started.
    """
    if hasattr(os, "setsid"):
        os.setsid()  # a Ctrl-C in the terminal is then the parent's affair, too
        signal.signal(signal.SIGTERM, lambda *_: _kill_group(0))
    parent, number = multiprocessing.parent_process(), os.getppid()
    assert parent is not None

    def watch() -> None:
        while parent.is_alive() and os.getppid() == number:
            parent.join(1.0)
        _kill_group(0)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _kill_group(number: int) -> None:
    """End all processes of the group ``number`` (0: one's own), if there is such a group."""
    if hasattr(os, "killpg"):
        # Where there is none, the process has not become a group yet, or all of it is gone.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(number, signal.SIGKILL)

"""Says what a program waits for where nothing moves any more: after half a minute, and then every minute.

Nothing is noted while things go on, so that it costs nothing: a thread looks every few seconds where in this package the
watched thread is. Where that has not changed, nor have the clocks of training and of the games that are played there, the
calls under way say what is waited for. What happens inside of code of others (an environment that counts for ever) is no
progress.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

from rllib_reborn.limits import FIRST_LINE_S, LOOK_EVERY_S, NEXT_LINE_S
from rllib_reborn.runtime.hung_call import HungCalls

logger = logging.getLogger(__name__)

_Say = Callable[[str], None]
_PACKAGE = __name__.split(".")[0]


def _asked(local: Mapping[str, Any]) -> str:
    watcher, actors, limit = local["self"].watcher, local["remote_actor_ids"], local.get("limit")
    within = "" if limit is None else f" (for {limit:g} s at most)"
    return f"{watcher.name} {', '.join(map(str, sorted(set(actors))))} to answer{within}"


def _games(local: Mapping[str, Any]) -> str:
    rollout = local["self"]
    return f"the games of {rollout.name!r} in this process, after {rollout.env_steps:,} env steps"


#: By the name of a call of this package, what a program waits for that is inside of it; the innermost one counts. None: it
#: says so itself.
_WAITS: Mapping[str, str | Callable[[Mapping[str, Any]], str] | None] = {
    "WatchedActorManager._fetch_result": _asked,
    "RemoteSampling.collect": None,
    "wait_for_room": None,
    "Rollout.run": _games,
    "Rollout.begin": "the games in this process to begin",
    "run_updates": "an update of the learners",
    "EvaluatedAlgorithm.setup": ("the processes of the algorithm to start"),
    "EvaluatedAlgorithm.step": "an evaluation",
    "EvaluatedAlgorithm.cleanup": "the processes to end",
    "CheckpointStore.save": "a checkpoint to be written",
    "CheckpointedAlgorithm.restore_from_path": ("a checkpoint to be read"),
    "MetricsLog.append": "a row to be written",
    "evaluate_final": "the final evaluation",
    "start_ray": "Ray to start",
    "make_team_env": "an environment to be built",
    "make_same_team_env": "an environment to be built",
    "team_spec_in_order": "an environment to be built",
    "close_or_warn": "an environment to close",
    "check_team_env": "an environment that is checked",
    "locked_folder": "another process to let go of its folder",
    "_fit": None,  # every run of a sweep has a watch of its own
}
#: Calls of this package in which an environment's own code runs; they are ended where they take too long. The innermost one.
_CALLS_OF_GAMES = frozenset(
    {
        "CheckedEnv.step",
        "CheckedEnv.reset",
        "Rollout.begin",
        "Rollout.run",
        "RunningGames.get_state",
        "RunningGames.set_state",
        "make_team_env",
        "make_same_team_env",
        "team_spec_in_order",
        "close_or_warn",
        "check_team_env.<locals>.<lambda>",
    }
)


class _Watched:
    """A thread, and since when it stands still."""

    def __init__(self, thread: int, say: _Say, clock: Callable[[], float]) -> None:
        self.thread = thread
        self.progress: Callable[[], object] = tuple
        self.hung_calls: HungCalls | None = None
        self.say = say
        self._clock = clock
        self._place: object = None
        self._since = clock()
        self._next = FIRST_LINE_S

    def look(self, frame: FrameType | None) -> None:
        """End a call that hangs, and say what is waited for, where a line is due."""
        now = self._clock()
        place = (self.progress(), _place(frame))
        if place != self._place:
            if self._next > FIRST_LINE_S:
                self.say(f"it goes on, after {now - self._since:.0f} s")
            self._place, self._since, self._next = place, now, FIRST_LINE_S
            return
        waited = now - self._since
        if self.hung_calls is not None and waited >= self.hung_calls.limit_s and (call := _call_of_games(frame)):
            self.hung_calls.end(call)
        if waited >= self._next:
            what = what_for(frame)
            if what is not None:
                self.say(f"nothing has moved for {waited:.0f} s: waiting for {what}")
            self._next = waited + NEXT_LINE_S


_watched: list[_Watched] = []
_lock = threading.Lock()
_begun = threading.Event()
_thread: threading.Thread | None = None


@contextlib.contextmanager
def standstill_announced(
    say: _Say | None = None,
    progress: Callable[[], object] | None = None,
    hung_calls: HungCalls | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[None]:
    """While this thread stands still inside, say what it waits for. Where it is watched already, what is given here takes
    the place of what was given there, until the end.

    Args:
        say: Is given each message, on another thread; None: a warning is logged.
        progress: Something that changes while things go on, where the calls under way may not.
        hung_calls: Ends calls of environments that are played in this thread; None: they may take for ever.
        clock: Seconds; replaced in tests.
    """
    here = threading.get_ident()
    outer = next((one for one in _watched if one.thread == here), None)
    watched = _Watched(here, say or logger.warning, clock) if outer is None else outer
    before = watched.say, watched.progress, watched.hung_calls
    watched.say, watched.progress = say or watched.say, progress or watched.progress
    watched.hung_calls = hung_calls or watched.hung_calls
    if outer is None:
        _add(watched)
    try:
        yield
    finally:
        watched.say, watched.progress, watched.hung_calls = before
        if outer is None:
            _watched.remove(watched)


@contextlib.contextmanager
def games_answer_within(
    limit_s: float, say: _Say | None = None, progress: Callable[[], object] | None = None
) -> Iterator[None]:
    """As :func:`standstill_announced`, and in the main thread a call of an environment that takes longer than ``limit_s``
    seconds raises :class:`~rllib_reborn.runtime.hung_call.HungCallError`, whatever it does in Python."""
    hung_calls = HungCalls(limit_s)
    with hung_calls.watched(), standstill_announced(say, progress, hung_calls):
        yield


def _add(watched: _Watched) -> None:
    global _thread
    with _lock:
        _watched.append(watched)
        _begun.set()
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_look_again_and_again, name="standstill", daemon=True)
            _thread.start()


def _look_again_and_again() -> None:
    while True:
        if not _watched:
            _begun.clear()
            _begun.wait()
        time.sleep(LOOK_EVERY_S)
        look()


def look() -> None:
    """One look at all threads that are watched."""
    frames = sys._current_frames()
    for watched in tuple(_watched):
        try:
            watched.look(frames.get(watched.thread))
        except Exception:
            logger.exception("Looking after a thread failed.")


def _place(frame: FrameType | None) -> object:
    """Where a thread is: its calls of this package under way and those around them, and the env steps of games among them;
    outside of this package, all of its calls."""
    calls = tuple(_calls(frame))
    inside = next((at for at, one in enumerate(calls) if _name(one) is not None), 0)
    place: list[object] = []
    for one in calls[inside:]:
        place += (id(one.f_code), one.f_lasti)
        if _name(one) == "Rollout.run":
            place.append(one.f_locals["self"].env_steps)
    return place


def what_for(frame: FrameType | None) -> str | None:
    """What a thread waits for that is there; None: that is said elsewhere."""
    first_of_ours = None
    for one in _calls(frame):
        name = _name(one)
        if name is not None and name in _WAITS:
            what = _WAITS[name]
            return what(one.f_locals) if callable(what) else what
        if name is not None and first_of_ours is None:
            first_of_ours = f"{name}() of {one.f_globals['__name__']}"
    return first_of_ours or "something outside of this package"


def _call_of_games(frame: FrameType | None) -> FrameType | None:
    """The call of an environment that a thread is in."""
    return next((one for one in _calls(frame) if _name(one) in _CALLS_OF_GAMES), None)


def _calls(frame: FrameType | None) -> Iterator[FrameType]:
    """From the innermost one."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _name(frame: FrameType) -> str | None:
    """Of a call of this package; None: it is of another one."""
    module: str = frame.f_globals.get("__name__", "")
    return frame.f_code.co_qualname if module.split(".")[0] == _PACKAGE else None

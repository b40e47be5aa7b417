"""What the mock server does wrong on demand, so that what talks to the game can be tested: crash, hang, refuse, be
slow, answer garbage.

A plan is JSON, in a file named by the environment variable :data:`PLAN_VARIABLE` (or written there itself), so that it
reaches servers which the client under test starts::

    {"log": "/tmp/faults.jsonl", "seed": 3, "step_delay_ms": 5,
     "faults": [{"kind": "crash", "request": "step", "at": 20, "server": 2},
                {"kind": "hang", "request": "observation", "probability": 0.001, "times": 10},
                {"kind": "refuse_launch", "probability": 0.2, "times": 40}]}

Servers that share a ``log`` are numbered in the order of their starts, and each injected fault is one line in it, written
before it happens: tests count them with :func:`events`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from rllib_reborn.suggestions import did_you_mean

#: The environment variable that holds a plan or the path of one.
PLAN_VARIABLE = "RLLIB_REBORN_MOCK_SERVER_FAULTS"

#: What can happen instead of the answer to a request.
REQUEST_FAULTS = {
    "crash": "the process ends at once with status 139, as after a segmentation fault",
    "hang": "no request is answered any more; the process and the connection stay",
    "close": "the connection ends without a closing handshake; the process stays",
    "garbage": "the answer is bytes that are no Response",
    "error": "the answer is a Response with an error",
}
#: What can happen before there is a request.
START_FAULTS = {
    "refuse_launch": "the process says why on stderr and ends with status 1, without listening",
    "refuse_connection": "a connection is accepted and ended at once",
}
KINDS = {**REQUEST_FAULTS, **START_FAULTS}


class PlanError(ValueError):
    """A plan of faults that cannot be used; the message says what was expected."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        kind: One of :data:`KINDS`.
        request: Name of the request in which it happens (``step``, ``observation``, ...); None: in any.
        at: Only at the ``at``-th such request of a server's life, counted from 1; for START_FAULTS the ``at``-th
            connection. None: at every one.
        probability: Chance, each time that it could happen.
        server: Only in the server of this number, counted from 1 over those that share the log.
        times: At most so often, over all servers that share the log. None: no limit.
    """

    kind: str = ""
    request: str | None = None
    at: int | None = None
    probability: float = 1.0
    server: int | None = None
    times: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PlanError(f"{self.kind!r} is no kind of fault.{did_you_mean(self.kind, KINDS)}")
        if self.kind in START_FAULTS and self.request is not None:
            raise PlanError(f"{self.kind} happens before there is a request; it takes no 'request'.")
        if not 0.0 < self.probability <= 1.0:
            raise PlanError(f"probability is {self.probability!r}; expected a number in (0, 1].")
        for name in ("at", "server", "times"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise PlanError(f"{name} of a fault is {value!r}; expected a whole number >= 1.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FaultPlan:
    """All that goes wrong in the servers that are given this plan.

    Attributes:
        log: File with one JSON line per start of a server and per injected fault. None: nothing is written, and every
            server is number 1.
        seed: Of the draws, together with the server's number.
        step_delay_ms: A ``step`` request takes at least this long, in milliseconds: the server sleeps for what is left when
            it has computed it.
        start_delay_ms: Sleep this long before listening.
        ignore_sigterm: Whether SIGTERM does nothing, so that only SIGKILL ends the process.
        faults: The faults; the first one that is due happens.
    """

    log: str | None = None
    seed: int = 0
    step_delay_ms: float = 0.0
    start_delay_ms: float = 0.0
    ignore_sigterm: bool = False
    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        for name in ("step_delay_ms", "start_delay_ms"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or value < 0:
                raise PlanError(f"{name} is {value!r}; expected a number >= 0.")
        if self.log is None and any(fault.times or fault.server for fault in self.faults):
            raise PlanError(
                "'times' and 'server' of a fault count over several servers; the plan needs a 'log' for that."
            )

    @classmethod
    def from_dict(cls, content: Any) -> FaultPlan:
        """From plain data, as a JSON file holds it.

        Raises:
            PlanError: It is no such mapping.
        """
        settings = dict(_fields_of(cls, content, "a plan of faults"))
        faults = settings.pop("faults", ())
        if not isinstance(faults, list | tuple):
            raise PlanError(f"'faults' is {type(faults).__name__}; expected a list.")
        made = [fault if isinstance(fault, Fault) else Fault(**_fields_of(Fault, fault, "a fault")) for fault in faults]
        return cls(**settings, faults=tuple(made))

    def to_json(self) -> str:
        """What :func:`read_plan` reads."""
        return json.dumps(dataclasses.asdict(self), indent=1)


def read_plan(text_or_path: str) -> FaultPlan:
    """A plan from JSON text (it begins with a brace) or from the file of this path.

    Raises:
        PlanError: There is no such file, or it holds no plan.
    """
    where = "the plan of faults"
    text = text_or_path
    if not text.lstrip().startswith("{"):
        where = text_or_path
        try:
            text = Path(text_or_path).read_text(encoding="utf-8")
        except OSError as error:
            raise PlanError(f"the plan of faults {text_or_path!r} cannot be read: {error.strerror}.") from error
    try:
        return FaultPlan.from_dict(json.loads(text))
    except json.JSONDecodeError as error:
        raise PlanError(f"{where} is no JSON: {error}.") from error


def plan_from_environment(environment: Mapping[str, str]) -> FaultPlan:
    """The plan that :data:`PLAN_VARIABLE` holds or names; one without faults where it is not set."""
    text = environment.get(PLAN_VARIABLE, "")
    return read_plan(text) if text else FaultPlan()


class Injector:
    """Decides, in one server, when which fault of a plan is due. Starting one counts as the start of a server."""

    def __init__(self, plan: FaultPlan) -> None:
        self.plan = plan
        self.server = 1
        self._log = None if plan.log is None else _Log(Path(plan.log))
        if self._log is not None:
            self.server = self._log.start()
        self._random = random.Random(f"{plan.seed}/{self.server}")
        self._event_counts: Counter[str] = Counter()
        self._injected: Counter[int] = Counter()
        self._of_requests = [fault for fault in plan.faults if fault.kind in REQUEST_FAULTS]

    def refuses_launch(self) -> bool:
        """Asked once, before listening."""
        return self._due(self._started("refuse_launch"), "launch") is not None

    def refuses_connection(self) -> bool:
        """Asked for every connection."""
        return self._due(self._started("refuse_connection"), "connection") is not None

    def at_request(self, name: str) -> str | None:
        """The kind of fault that is due at this request, if any. Asked once for every request."""
        if not self._of_requests:
            return None
        fault = self._due(self._of_requests, name)
        return None if fault is None else fault.kind

    def _started(self, kind: str) -> list[Fault]:
        return [fault for fault in self.plan.faults if fault.kind == kind]

    def _due(self, faults: list[Fault], event: str) -> Fault | None:
        self._event_counts[event] += 1
        self._event_counts["*"] += event not in ("launch", "connection")
        for fault in faults:
            count = self._event_counts["*" if fault.request is None and fault.kind in REQUEST_FAULTS else event]
            possible = (
                fault.request in (None, event)
                and fault.at in (None, count)
                and fault.server in (None, self.server)
                and (fault.probability == 1.0 or self._random.random() < fault.probability)
            )
            if possible and self._claim(fault, event, count):
                return fault
        return None

    def _claim(self, fault: Fault, event: str, count: int) -> bool:
        """Write it down; False where it has happened ``times`` times."""
        if self._log is None:
            return True
        number = self.plan.faults.index(fault)
        line = {"event": fault.kind, "fault": number, "server": self.server, "in": event, "count": count}
        return self._log.claim({**line, "pid": os.getpid()}, fault.times)


def events(log: str | os.PathLike[str]) -> Counter[str]:
    """How often what happened, by the log of a plan: ``start`` for every server that was started, and the kinds of
    faults that were injected. Empty where there is no log yet."""
    path = Path(log)
    return Counter(line["event"] for line in _lines(path.read_text(encoding="utf-8"))) if path.exists() else Counter()


class _Log:
    """Lines of JSON that several processes append to, each holding a lock while it looks and writes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def start(self) -> int:
        """Note the start of a server; returns its number."""
        with self._locked() as file:
            number = 1 + sum(line["event"] == "start" for line in _lines(file.read()))
            _append(file, {"event": "start", "server": number, "pid": os.getpid()})
        return number

    def claim(self, entry: Mapping[str, Any], times: int | None) -> bool:
        with self._locked() as file:
            if times is not None and times <= sum(line.get("fault") == entry["fault"] for line in _lines(file.read())):
                return False
            _append(file, entry)
        return True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[IO[str]]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            yield file


def _append(file: IO[str], entry: Mapping[str, Any]) -> None:
    # Flushed while locked: a crash that follows must find it written.
    file.write(json.dumps(entry) + "\n")
    file.flush()


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def _fields_of(kind: type, content: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise PlanError(f"{what} is {type(content).__name__}; expected a JSON object.")
    known = [field.name for field in dataclasses.fields(kind)]
    for name in content:
        if name not in known:
            raise PlanError(f"{what} has no {name!r}.{did_you_mean(str(name), known)}")
    return content

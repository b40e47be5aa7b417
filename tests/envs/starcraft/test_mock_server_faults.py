"""Plans of faults: what they may hold, when a fault is due, and how it is counted."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from rllib_reborn.envs.starcraft.mock_server.faults import (
    PLAN_VARIABLE,
    Fault,
    FaultPlan,
    Injector,
    PlanError,
    events,
    plan_from_environment,
    read_plan,
)


def kinds(injector: Injector, *names: str) -> list[str | None]:
    return [injector.at_request(name) for name in names]


class TestPlans:
    """Reading and refusing them."""

    def test_text_file_and_environment_give_the_same(self, tmp_path: Path) -> None:
        plan = FaultPlan(
            log=str(tmp_path / "log"), seed=3, step_delay_ms=5, faults=(Fault(kind="crash", request="step", at=7),)
        )
        path = tmp_path / "plan.json"
        path.write_text(plan.to_json())
        assert read_plan(plan.to_json()) == plan
        assert read_plan(str(path)) == plan
        assert plan_from_environment({PLAN_VARIABLE: str(path)}) == plan
        assert plan_from_environment({PLAN_VARIABLE: plan.to_json()}) == plan
        assert plan_from_environment({}) == FaultPlan()

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ({"falts": []}, "Did you mean 'faults'"),
            ({"faults": {}}, "expected a list"),
            ({"faults": [{}]}, "is no kind of fault"),
            ({"faults": [{"kind": "crsh"}]}, "Did you mean 'crash'"),
            ({"faults": [{"kind": "crash", "when": 3}]}, "has no 'when'"),
            ({"faults": [{"kind": "crash", "at": 0}]}, "expected a whole number >= 1"),
            ({"faults": [{"kind": "crash", "probability": 1.5}]}, "expected a number in (0, 1]"),
            ({"faults": [{"kind": "refuse_launch", "request": "step"}]}, "takes no 'request'"),
            ({"faults": [{"kind": "crash", "times": 3}]}, "needs a 'log'"),
            ({"step_delay_ms": -1}, "expected a number >= 0"),
            ([], "expected a JSON object"),
        ],
    )
    def test_mistakes_are_named(self, content: object, message: str) -> None:
        with pytest.raises(PlanError, match=message.replace("(", r"\(").replace("]", r"\]")):
            FaultPlan.from_dict(content)

    def test_what_is_no_plan_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(PlanError, match="cannot be read"):
            read_plan(str(tmp_path / "nothing"))
        with pytest.raises(PlanError, match="is no JSON"):
            read_plan("{")


class TestWhen:
    """When a fault is due."""

    def test_at_the_nth_such_request(self) -> None:
        injector = Injector(FaultPlan(faults=(Fault(kind="crash", request="step", at=2),)))
        assert kinds(injector, "step", "action", "action", "step", "step") == [None, None, None, "crash", None]

    def test_at_the_nth_request_of_any_kind(self) -> None:
        injector = Injector(FaultPlan(faults=(Fault(kind="hang", at=3),)))
        assert kinds(injector, "ping", "step", "action", "step") == [None, None, "hang", None]

    def test_the_first_one_that_is_due_happens(self) -> None:
        plan = FaultPlan(faults=(Fault(kind="error", request="step", at=1), Fault(kind="garbage")))
        assert kinds(Injector(plan), "ping", "step", "step") == ["garbage", "error", "garbage"]

    def test_launch_and_connection(self) -> None:
        injector = Injector(FaultPlan(faults=(Fault(kind="refuse_connection", at=2),)))
        assert not injector.refuses_launch()
        assert [injector.refuses_connection() for _ in range(3)] == [False, True, False]
        assert kinds(injector, "ping") == [None]
        assert Injector(FaultPlan(faults=(Fault(kind="refuse_launch"),))).refuses_launch()

    def test_draws_follow_the_seed_and_the_server(self, tmp_path: Path) -> None:
        def drawn(seed: int, log: str) -> list[list[str | None]]:
            plan = FaultPlan(seed=seed, log=str(tmp_path / log), faults=(Fault(kind="crash", probability=0.2),))
            return [kinds(Injector(plan), *["step"] * 200) for _ in range(2)]

        first = drawn(1, "a")
        assert drawn(1, "b") == first
        assert drawn(2, "c") != first
        assert first[0] != first[1]
        assert 20 < sum(kind is not None for kind in first[0]) < 60


class TestCounting:
    """The log, shared by many servers."""

    def test_servers_are_numbered_and_times_is_over_all(self, tmp_path: Path) -> None:
        log = str(tmp_path / "folder" / "faults.jsonl")
        assert events(log) == {}
        plan = FaultPlan(
            log=log,
            faults=(Fault(kind="crash", request="step", server=2), Fault(kind="hang", request="action", times=3)),
        )
        injectors = [Injector(plan) for _ in range(3)]
        assert [injector.server for injector in injectors] == [1, 2, 3]
        assert [injector.at_request("step") for injector in injectors] == [None, "crash", None]
        assert [injector.at_request("action") for injector in injectors * 2] == ["hang"] * 3 + [None] * 3
        assert events(log) == {"start": 3, "crash": 1, "hang": 3}
        lines = [json.loads(line) for line in Path(log).read_text().splitlines()]
        assert lines[3] | {"pid": 0} == {
            "event": "crash",
            "fault": 0,
            "server": 2,
            "in": "step",
            "count": 1,
            "pid": 0,
        }

    def test_processes_that_write_at_once(self, tmp_path: Path) -> None:
        log = str(tmp_path / "faults.jsonl")
        plan = FaultPlan(log=log, faults=(Fault(kind="crash", times=25),))
        context = multiprocessing.get_context("fork")
        processes = [context.Process(target=_ask_often, args=(plan,)) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(30)
            assert process.exitcode == 0
        assert events(log) == {"start": 4, "crash": 25}
        servers = [json.loads(line)["server"] for line in Path(log).read_text().splitlines() if "start" in line]
        assert sorted(servers) == [1, 2, 3, 4]


def _ask_often(plan: FaultPlan) -> None:
    injector = Injector(plan)
    for _ in range(20):
        injector.at_request("step")

"""Runs a sweep, or goes on with it: what is over stays as it is, and everything else goes on from its own run folder."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import os
import random
import shutil
import textwrap
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import ray
from ray import tune
from ray.tune import CheckpointConfig, FailureConfig, RunConfig, Stopper, TuneConfig
from ray.tune.experiment import Trial
from ray.tune.search.basic_variant import BasicVariantGenerator

from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.experiments.atomic_text import write_text_atomically
from rllib_reborn.experiments.build import build_config, check_replay_fits
from rllib_reborn.experiments.cluster_room import shortage, wait_for_room
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.interruption import Interruption
from rllib_reborn.experiments.own_ray import cluster_address, own_ray_options
from rllib_reborn.experiments.preflight import check_driver_starts_no_program, check_env, check_trackers
from rllib_reborn.experiments.ray_session import cpus_needed, custom_resources_needed, show_ray_messages, start_ray
from rllib_reborn.experiments.schema import Experiment
from rllib_reborn.runtime.idle_watch import IdleWatch
from rllib_reborn.runtime.room import alive_nodes
from rllib_reborn.tuning.points import PREFIX, Point, SweepRun, experiment_of, known_points, point_name
from rllib_reborn.tuning.schedule import make_scheduler
from rllib_reborn.tuning.search import KnownRuns, SuggestedRuns
from rllib_reborn.tuning.sweep import SchedulerSection, Sweep
from rllib_reborn.tuning.sweep_folder import RunState, SweepFolder, objective_of
from rllib_reborn.tuning.trainable import ARM, SEED, SweepTrainable, flat_config, resources_of, run_name

#: How often a run may lose its process before it counts as failed.
_RESTARTS = 3


class SweepObserver(Protocol):
    """What is notified of how a sweep goes."""

    def on_start(self, states: Mapping[str, RunState], total: int) -> None:
        """What there is already, by the runs' names, and how many runs there will be."""

    def on_wait(self, reason: str) -> None:
        """The cluster has no room for one run."""

    def on_result(self, name: str, result: Mapping[str, Any]) -> None:
        """An iteration of a run has ended."""

    def on_restart(self, name: str, reason: str) -> None:
        """A run has lost its process, and goes on from its last checkpoint in another one."""

    def on_end(self, name: str, state: RunState, reason: str = "") -> None:
        """A run has ended."""


@dataclasses.dataclass(frozen=True)
class SweepOutcome:
    """How a sweep ended.

    Attributes:
        states: How many runs are in which state.
        interrupted_by: Name of the signal that stopped it; None: it came to its end.
    """

    states: Mapping[RunState, int]
    interrupted_by: str | None


def check_sweep(sweep: Sweep) -> None:
    """Compose and check every experiment of a sweep; starts nothing and writes nothing.

    Raises:
        ExperimentError: One cannot be run; the message says which.
    """
    points = known_points(sweep)
    if sweep.searcher.kind == "optuna" or sweep.scheduler.kind == "pbt":
        # The ends of every range: what lies between is as valid.
        points = [*points, *(_point_at(sweep, share) for share in (0.0, 1.0 - 1e-9))]
    teams: dict[tuple[str, str], TeamSpec] = {}
    for point in points:
        run = SweepRun(point, sweep.seeds[0])
        try:
            experiment = experiment_of(sweep, run)
            show_ray_messages(experiment.logging.level)
            check_driver_starts_no_program(experiment)
            check_trackers(experiment)
            environment = (experiment.env, json.dumps(experiment.env_config, sort_keys=True))
            is_new = environment not in teams
            if is_new:
                teams[environment] = check_env(experiment)
            config = build_config(experiment, teams[environment])
            if is_new:
                check_replay_fits(config)
        except ExperimentError as error:
            raise ExperimentError(f"run {run.name}: {error}") from error


def run_sweep(sweep: Sweep, folder: SweepFolder, observer: SweepObserver) -> SweepOutcome:
    """Run what is not over, until all is, or a signal.

    Raises:
        ExperimentError: Another process runs it, the folder holds another sweep, or there was no room for a run of it in
            ``resources.wait_timeout_s`` seconds.
    """
    with folder.locked():
        folder.start(sweep)
        with _ray_for(sweep):
            left = _left(sweep, folder, observer)
            if left.count:
                # Before signals are only noted: one ends this wait at once, and nothing is lost.
                _wait_for_room_of_one(sweep, observer)
            with Interruption() as interruption:
                if left.count:
                    _tune(sweep, folder, left, observer, interruption)
            states = collections.Counter(folder.state(run) for run in folder.runs(sweep))
            return SweepOutcome(states, interruption.received)


@dataclasses.dataclass(frozen=True)
class _Left:
    """What is left of a sweep: runs that are known, and how many points are still to be chosen."""

    runs: Sequence[SweepRun]
    points: int
    seeds: int

    @property
    def count(self) -> int:
        return len(self.runs) + self.points * self.seeds


def _left(sweep: Sweep, folder: SweepFolder, observer: SweepObserver) -> _Left:
    runs = folder.runs(sweep)
    states = {run.name: folder.state(run) for run in runs}
    to_choose = (sweep.samples or 0) - len(folder.chosen_points()) if sweep.searcher.kind == "optuna" else 0
    left = _Left([run for run in runs if not states[run.name].is_over], to_choose, len(sweep.seeds))
    observer.on_start(states, len(runs) + to_choose * len(sweep.seeds))
    return left


def _tune(sweep: Sweep, folder: SweepFolder, left: _Left, observer: SweepObserver, interruption: Interruption) -> None:
    # Rows and checkpoints are in the run folders; Tune's own copies of them would only fill the disk.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    # Nothing goes on from Tune's own state either, of which every few seconds a file of some 10 kB a run was written anew.
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "inf"
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    os.environ["TUNE_PRINT_ALL_TRIAL_ERRORS"] = "0"  # the observer is notified of each, in one line
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # whose tables come at verbose=0 too
    os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "1" if sweep.searcher.kind == "optuna" else "16")
    if sweep.scheduler.kind != "pbt":
        ended: set[str] = set()
        config = TuneConfig(
            search_alg=_searcher(sweep, folder, left, ended),
            scheduler=make_scheduler(sweep, _curves_of_what_is_over(sweep, folder)),
            num_samples=left.count,
            max_concurrent_trials=sweep.concurrency,
            reuse_actors=True,
        )
        _fit(config, {}, sweep, folder, observer, interruption, ended)
        return
    # The population alone: what it is compared with is neither compared by its scheduler nor taken for a member.
    members = [run for run in left.runs if run.point.arm is None and not run.point.is_prefix]
    others = [run for run in left.runs if run not in members]
    if others:
        fifo = sweep.model_copy(update={"scheduler": SchedulerSection()})
        _tune(fifo, folder, _Left(others, 0, 1), observer, interruption)
    if members and interruption.received is None:
        configs = [flat_config(folder, run) for run in members]
        config = TuneConfig(
            search_alg=BasicVariantGenerator(points_to_evaluate=configs),
            scheduler=make_scheduler(sweep),
            num_samples=len(configs),
            # A member that is paused must let go of its folder before it goes on elsewhere.
            reuse_actors=False,
        )
        space = {key: tune.choice([one[key] for one in configs]) for key in configs[0]}
        with _seeded(sweep.searcher.seed):
            _fit(config, space, sweep, folder, observer, interruption, set())


def _fit(
    config: TuneConfig,
    space: dict[str, Any],
    sweep: Sweep,
    folder: SweepFolder,
    observer: SweepObserver,
    interruption: Interruption,
    ended: set[str],
) -> None:
    shutil.rmtree(folder.tune, ignore_errors=True)
    folder.stop_request.take_back()
    config = dataclasses.replace(config, trial_name_creator=_trial_name, trial_dirname_creator=_trial_id)
    try:
        tune.Tuner(
            SweepTrainable,
            param_space=space,
            tune_config=config,
            run_config=RunConfig(
                name="trials",
                storage_path=str(folder.tune.resolve()),
                failure_config=FailureConfig(max_failures=_RESTARTS),
                checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
                stop=_StopAll(interruption, folder),
                callbacks=[_Notifier(folder, observer, interruption, ended, lambda: _shortage(sweep))],
                verbose=0,
            ),
        ).fit()
    finally:
        folder.stop_request.take_back()
        shutil.rmtree(folder.tune, ignore_errors=True)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Inside, the two global generators that Ray's population scheduler draws from begin at ``seed``."""
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def _searcher(sweep: Sweep, folder: SweepFolder, left: _Left, ended: Container[str]) -> KnownRuns:
    """What gives Tune its runs; ``ended`` holds the names of those that have ended, well or not."""
    configs = [flat_config(folder, run) for run in left.runs]

    def can_begin(config: dict[str, Any]) -> bool:
        """Whether what the run is forked from has ended; where it ended badly, the run itself says so."""
        if sweep.fork is None or config[ARM] == PREFIX.name:
            return True
        prefix = SweepRun(PREFIX, config[SEED])
        return prefix.name in ended or folder.state(prefix).is_over

    if sweep.searcher.kind != "optuna":
        return KnownRuns(configs, can_begin)

    # Read once: reading all points for each new one would take longer than the runs of a sweep of thousands.
    taken = {point.name for point in folder.chosen_points()}

    def make_point(values: dict[str, Any]) -> Point:
        values = {key: values[key] for key in sweep.space}
        name = base = point_name(sweep, values)
        number = 1
        while name in taken:
            number += 1
            name = f"{base}-{number}"
        point = Point(name, values)
        folder.write_point(point)
        taken.add(name)
        return point

    return SuggestedRuns(
        sweep,
        configs,
        evaluated=list(_evaluated(sweep, folder)),
        started=len(taken),
        make_point=make_point,
        config_of=lambda run: flat_config(folder, run),
        can_begin=can_begin,
    )


def _curves_of_what_is_over(sweep: Sweep, folder: SweepFolder) -> dict[str, list[tuple[int, float]]]:
    """Of each searched run that is over: env steps and the objective last known there, wherever it is known."""
    curves = {}
    for run in folder.runs(sweep):
        if run.point.arm is None and not run.point.is_prefix and folder.state(run).is_over:
            known, curve = None, []
            for row in folder.rows(run):
                known = row.get(sweep.objective) if row.get(sweep.objective) is not None else known
                if known is not None:
                    curve.append((int(row["env_steps"]), float(known)))
            curves[run.name] = curve
    return curves


def _evaluated(sweep: Sweep, folder: SweepFolder) -> Iterator[tuple[dict[str, Any], float]]:
    """Points of the searcher's that are over with every seed, and the mean of their objectives."""
    for point in folder.chosen_points():
        runs = [SweepRun(point, seed) for seed in sweep.seeds]
        if all(folder.state(run).is_over for run in runs):
            found = [objective_of(folder.rows(run), sweep.objective) for run in runs]
            known = [value for value in found if value is not None]
            if known:
                yield dict(point.values), sum(known) / len(known)


class _StopAll(Stopper):  # type: ignore[misc]
    """Ends all runs once a signal has come; each saves what it has, between two updates."""

    def __init__(self, interruption: Interruption, folder: SweepFolder) -> None:
        self._interruption = interruption
        self._folder = folder

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        if self._interruption.received is None:
            return False
        self._folder.stop_request.make()
        return True

    def __reduce__(self) -> Any:
        # Tune pickles what it is given; a copy elsewhere has no signals to look at.
        return _StopAll, (Interruption(), self._folder)


class _Notifier(tune.Callback):  # type: ignore[misc]
    """Passes on what Tune tells."""

    def __init__(
        self,
        folder: SweepFolder,
        observer: SweepObserver,
        interruption: Interruption,
        ended: set[str],
        why_none_runs: Callable[[], str | None],
    ) -> None:
        self._folder = folder
        self._observer = observer
        self._interruption = interruption
        self._ended = ended
        self._why_none_runs = why_none_runs
        self._idle = IdleWatch(observer.on_wait)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        statuses = {trial.status for trial in trials}
        if Trial.RUNNING in statuses:
            self._idle.came()
        elif Trial.PENDING in statuses:
            self._idle.nothing_came(self._why_none_runs)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        self._observer.on_result(str(trial), result)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        name, last = str(trial), trial.last_result or {}
        self._ended.add(name)
        if last.get("failed"):
            self._folder.note_failure(name, last["failed"])
            self._observer.on_end(name, RunState.FAILED, last["failed"])
            return
        if self._interruption.received is None and not self._folder.state_of(name).is_over:
            text = json.dumps({"env_steps": last.get("env_steps"), "objective": last.get("objective")})
            write_text_atomically(self._folder.early_stop(name), text + "\n")
        self._observer.on_end(name, self._folder.state_of(name))

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._observer.on_restart(str(trial), _last_words(trial))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._ended.add(str(trial))
        name = str(trial)
        self._folder.note_failure(name, _error_text(trial))
        self._observer.on_end(name, RunState.FAILED, _last_words(trial))

    def __reduce__(self) -> Any:
        return tune.Callback, ()


def _error_text(trial: Trial) -> str:
    path = trial.error_file  # where the driver writes it; get_error() reads a copy that comes later
    text = Path(path).read_text(encoding="utf-8").strip() if path and Path(path).exists() else ""
    return text or "no reason was given"


def _last_words(trial: Trial) -> str:
    """The line of a traceback that says what went wrong; of a lost process Ray writes a whole page in it."""
    return textwrap.shorten(_error_text(trial).splitlines()[-1], 160, placeholder=" ...")


def _trial_name(trial: Trial) -> str:
    """The run's, which stays when a population's member is given another config."""
    return run_name(trial.config)


def _trial_id(trial: Trial) -> str:
    return str(trial.trial_id)


def _point_at(sweep: Sweep, share: float) -> Point:
    values = {key: dimension.at(share) for key, dimension in sweep.space.items()}
    return Point(point_name(sweep, values), values)


@contextlib.contextmanager
def _ray_for(sweep: Sweep) -> Iterator[None]:
    """The cluster that is there, or a local Ray as large as this machine; what one run books always fits."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if ray.is_initialized():
        yield
        return
    experiment = _largest(sweep)
    show_ray_messages(experiment.logging.level)
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if cluster_address() is None:
        at_once = sweep.concurrency or 1
        own = {name: amount * at_once for name, amount in custom_resources_needed(experiment).items()}
        num_cpus = max(os.cpu_count() or 1, cpus_needed(experiment) * at_once)
        options |= own_ray_options(num_cpus, own, dashboard=experiment.logging.dashboard)
    start_ray(options)
    try:
        yield
    finally:
        ray.shutdown()


def _wait_for_room_of_one(sweep: Sweep, observer: SweepObserver) -> None:
    """Tune would wait for it without a word, and for ever."""
    experiment = _largest(sweep)
    wait_for_room(experiment, lambda reason: observer.on_wait(reason), own=_own_bundle(experiment))


def _shortage(sweep: Sweep) -> str | None:
    """What the cluster lacks for one run of it; None: nothing."""
    experiment = _largest(sweep)
    return shortage(experiment, alive_nodes(), _own_bundle(experiment))


def _own_bundle(experiment: Experiment) -> Mapping[str, float]:
    bundle: Mapping[str, float] = resources_of(experiment).bundles[0]
    return bundle


def _largest(sweep: Sweep) -> Experiment:
    """The experiment that books the most cores."""
    points = known_points(sweep) or [_point_at(sweep, 0.0)]
    return max((experiment_of(sweep, SweepRun(point, sweep.seeds[0])) for point in points), key=cpus_needed)

"""One run of a sweep as a Tune trainable: an ordinary run folder, and a result that any scheduler can use."""

from __future__ import annotations

import contextlib
import gc
import logging
import math
from pathlib import Path
from typing import Any

from ray import tune

from rllib_reborn.checkpoints import CheckpointError, CheckpointStore
from rllib_reborn.envs.contract import EnvContractError
from rllib_reborn.experiments.build import build_config, replay_limit_bytes
from rllib_reborn.experiments.cluster_room import processes_of
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.fork import ForkRequest, iterations_before_fork
from rllib_reborn.experiments.run import OpenRun, open_run, prepare_run
from rllib_reborn.experiments.schema import Experiment
from rllib_reborn.experiments.training_loop import TrainingError, TrainingLoop
from rllib_reborn.limits import FOLDER_S
from rllib_reborn.runtime.interruption import InterruptedIterationError
from rllib_reborn.tuning.points import PREFIX, Point, SweepRun, experiment_of
from rllib_reborn.tuning.population import Exchange, beginning, note_exchange
from rllib_reborn.tuning.sweep import Sweep
from rllib_reborn.tuning.sweep_folder import RunState, SweepFolder

logger = logging.getLogger(__name__)

#: Keys of the flat config beside the searched ones.
FOLDER, POINT, SEED, ARM = "sweep_folder", "point", "seed", "arm"
OWN_KEYS = (FOLDER, POINT, SEED, ARM)
_EVALUATED = "eval/"
#: What Ray calls the trial of a Trainable that no Tune has made.
_OUTSIDE_TUNE = "default"
#: What results carry of the last known metrics beside the objective, for the table of running runs. Not all of them: Tune
#: keeps some 2 kB for each number of a result until the sweep ends.
_SHOWN = ("dormancy/mixer/dormant_fraction",)


class NeverMeasuredError(RuntimeError):
    """A run ended and its objective was never known."""


def flat_config(folder: SweepFolder, run: SweepRun) -> dict[str, Any]:
    """What Tune is given of a run: primitives only, so that any searcher, scheduler and restore can handle it."""
    own = {
        FOLDER: str(folder.root.resolve()),
        POINT: run.point.name,
        SEED: run.seed,
        ARM: PREFIX.name if run.point.is_prefix else run.point.arm.name if run.point.arm else "",
    }
    return own | dict(run.point.values)


def run_name(config: dict[str, Any]) -> str:
    """The name of the run that a flat config is of."""
    return f"{config[POINT]}/s{config[SEED]}"


def run_of_config(sweep: Sweep, config: dict[str, Any], name: str | None = None) -> SweepRun:
    """The run of a sweep that :func:`flat_config` was given.

    Args:
        sweep: The sweep.
        config: The flat config.
        name: The run's name where that is another one: a population's member is given the whole config of the one that it
            goes on from, with changed values.
    """
    if name is not None:
        config = config | {POINT: name.rpartition("/s")[0]}
    if sweep.fork is not None and config[ARM] == PREFIX.name:
        return SweepRun(PREFIX, int(config[SEED]))
    values = {key: value for key, value in config.items() if key not in OWN_KEYS}
    arm = next((arm for arm in sweep.arms if arm.name == config[ARM]), None)
    return SweepRun(Point(config[POINT], values, arm), int(config[SEED]))


class SweepTrainable(tune.Trainable):  # type: ignore[misc]
    """Trains one run. Whatever happens to its process, setup goes on with the run folder as ``train --resume auto`` does."""

    def setup(self, config: dict[str, Any]) -> None:
        """Opens nothing yet. Tune makes a process for a run and may then give the run to an older one that has become free
        (``reuse_actors``); only the one that is asked for a step may hold the run folder."""
        self._folder = SweepFolder(Path(config[FOLDER]))
        self._sweep = self._folder.read()
        self._given = run_of_config(self._sweep, config, None if self.trial_name == _OUTSIDE_TUNE else self.trial_name)
        self._held = contextlib.ExitStack()
        self._run: OpenRun | None = None
        self._known: dict[str, float] = {}
        self._known_at = 0
        self._settings_applied: dict[str, Any] = {}
        self._broken = False

    def step(self) -> dict[str, Any]:
        """One iteration. What would go wrong again is a result that says so; a process that dies is started again."""
        try:
            return self._advance(self._opened())
        except InterruptedIterationError:
            return self._interrupted()
        except (TrainingError, EnvContractError, NeverMeasuredError, ExperimentError, CheckpointError) as error:
            return self._failed(str(error))

    def _opened(self) -> OpenRun:
        """The run, from its folder where it has begun."""
        if self._run is not None:
            return self._run
        run, out = self._given, self._folder.run_folder(self._given)
        experiment = experiment_of(self._sweep, run)
        # A process that had the run before may still be saving it.
        with out.locked(FOLDER_S):
            fork = beginning(out) or self._fork(run)
        prepared = prepare_run(experiment, out=out.root, resume="auto", fork=fork)
        self._run = opened = self._held.enter_context(open_run(prepared, _NoObserver(), ("tune",)))
        opened.algo.interrupt_when(self._folder.stop_request.is_made)
        # As the config has them, until the learner tells what it has applied.
        self._settings_applied = _settings(experiment.interventions)
        for row in prepared.plan.rows:
            self._learn(row)
        before = iterations_before_fork(out)
        for event in prepared.plan.events:
            if event["iteration"] > before:
                self._note_applied(event)
        return opened

    def _fork(self, run: SweepRun) -> ForkRequest | None:
        """What a run begins with."""
        folder, fork = self._folder, self._sweep.fork
        if fork is None or run.point.is_prefix:
            return None
        prefix = SweepRun(PREFIX, run.seed)
        if folder.state(prefix) is not RunState.DONE:
            raise ExperimentError(f"{prefix.name}, which this run is forked from, is {folder.state(prefix).value}.")
        return ForkRequest(folder.run_folder(prefix).root, tuple(fork.fresh))

    def _advance(self, run: OpenRun) -> dict[str, Any]:
        loop, objective = run.loop, self._sweep.objective
        self._broken = True
        with run.errors_written():
            if objective not in self._known and objective.startswith(_EVALUATED):
                self._evaluate_first(run)
            while not loop.has_ended:
                row, events = loop.advance()
                self._learn(row)
                for event in events:
                    self._note_applied(event)
                if objective in self._known:
                    break
            self._broken = False
            if loop.has_ended:
                loop.save()
                _require_written(loop)
                try:
                    run.evaluate_final()
                except OSError as error:
                    raise TrainingError(f"the final evaluation could not be written: {error}") from error
        if objective not in self._known:
            raise NeverMeasuredError(
                f"objective {objective!r} was never measured in this run; its metrics are {', '.join(sorted(self._known))}."
            )
        return self._result(loop.position.env_steps, done=loop.has_ended)

    def _failed(self, reason: str) -> dict[str, Any]:
        # A scheduler needs a number; ours look at "failed" and take it for none.
        objective = self._known.get(self._sweep.objective, 0.0)
        return {**self._shown(), "objective": objective, "env_steps": 0, "failed": reason, "done": True}

    def _interrupted(self) -> dict[str, Any]:
        """The sweep has been asked to stop: what was trained is saved, and nobody looks at the result."""
        loop = self._opened().loop
        self._broken = False
        loop.save()
        objective, env_steps = self._known.get(self._sweep.objective, 0.0), loop.position.env_steps
        return {**self._shown(), "objective": objective, "env_steps": env_steps, "failed": "", "done": False}

    def _shown(self) -> dict[str, float]:
        return {name: self._known[name] for name in _SHOWN if name in self._known}

    def _evaluate_first(self, run: OpenRun) -> None:
        """Before anything is learnt, so that the first result has an evaluation; it is in no row."""
        found = run.algo.evaluate()["env_runners"]
        self._known |= {
            f"{_EVALUATED}{ours}": float(found[theirs])
            for ours, theirs in (("return_mean", "episode_return_mean"), ("win_rate", "win_rate"))
            if found.get(theirs) is not None
        }
        self._known_at = run.loop.position.env_steps

    def _learn(self, row: dict[str, Any]) -> None:
        finite = {
            key: float(value)
            for key, value in row.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        }
        if self._sweep.objective in finite:
            self._known_at = int(row["env_steps"])
        self._known |= finite

    def _note_applied(self, event: dict[str, Any]) -> None:
        if event["event"] == "intervention":
            self._settings_applied |= _settings([event["settings"]], first=event["position"])

    def _result(self, env_steps: int, *, done: bool) -> dict[str, Any]:
        return {
            **self._shown(),
            "objective": self._known[self._sweep.objective],
            "objective_env_steps": self._known_at,
            "env_steps": env_steps,
            **{f"applied/{key}": value for key, value in self._settings_applied.items()},
            "failed": "",
            "done": done,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        run = self._opened()
        run.loop.save()
        newest = CheckpointStore(run.prepared.plan.folder.checkpoints).latest_valid()
        if newest is None:
            _require_written(run.loop)
            raise TrainingError(f"{self._given.name} has no checkpoint, though one was asked for.")
        path, manifest = newest
        return {"run": self._given.name, "checkpoint": str(path.resolve()), "env_steps": manifest.env_steps}

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Of this run: nothing, its folder is at least as far. Of another one: this run goes on from that."""
        if checkpoint["run"] == self._given.name:
            return
        self.cleanup()  # were it open, it would be with other values
        point = self._given.point
        exchange = Exchange(checkpoint["checkpoint"], dict(point.values), checkpoint["env_steps"])
        note_exchange(self._folder.root / point.name, exchange)

    def cleanup(self) -> None:
        """Told to stop: what was trained is saved."""
        run, self._run = self._run, None
        try:
            if run is not None and not self._broken:
                run.loop.save()
        finally:
            self._held.close()
            # An algorithm holds itself in cycles, and Python looks for these so seldom in a process of this size that dozens
            # of runs would pile up in it, each with its replay.
            del run
            gc.collect()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Another run in this process: starting one takes longer than many a run of two iterations."""
        self.cleanup()
        self.setup(new_config)
        return True

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        sweep = SweepFolder(Path(config[FOLDER])).read()
        return resources_of(experiment_of(sweep, run_of_config(sweep, config)))


def resources_of(experiment: Experiment) -> tune.PlacementGroupFactory:
    """What a run books: its own process with the replay's memory and, where it learns there, its GPU; then each runner and
    learner."""
    resources = experiment.resources
    main: dict[str, float] = {"CPU": 1, "memory": replay_limit_bytes(build_config(experiment))}
    if resources.num_learners == 0 and resources.num_gpus_per_learner:
        main["GPU"] = resources.num_gpus_per_learner
    others = [process for kind in processes_of(experiment).values() for process in kind]
    return tune.PlacementGroupFactory([main, *map(dict, others)])


class _NoObserver:
    def on_row(self, row: dict[str, Any]) -> None:
        pass

    def on_checkpoint(self, path: Path) -> None:
        pass

    def on_wait(self, reason: str) -> None:
        logger.warning("%s", reason)


def _require_written(loop: TrainingLoop) -> None:
    """Raise where not all that was trained is on the disk."""
    missing = loop.not_written
    if missing:
        raise TrainingError(f"not all of it is on the disk: {'; '.join(missing)}")


def _settings(interventions: list[dict[str, Any]], first: int = 0) -> dict[str, Any]:
    """``{"interventions.0.beta": 3.0}`` of plain data; only what a result can hold."""
    return {
        f"interventions.{first + place}.{name}": value
        for place, settings in enumerate(interventions)
        for name, value in settings.items()
        if isinstance(value, int | float | str | bool)
    }

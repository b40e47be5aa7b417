"""One training run from an experiment to a finished run folder.

:func:`prepare_run` finds every mistake that can be found without starting anything, and writes nothing;
:func:`execute_run` trains.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.exceptions import RayError, RayTaskError
from ray.rllib.algorithms.algorithm import Algorithm

from rllib_reborn.algorithms import ValueFactorizationConfig
from rllib_reborn.algorithms.value_factorization.readings import readings
from rllib_reborn.algorithms.value_factorization.saved_team import expect_saved_team
from rllib_reborn.algorithms.value_factorization.soundness import why_unsound
from rllib_reborn.algorithms.value_factorization.tasks import present_task
from rllib_reborn.checkpoints import CheckpointError, CheckpointStore
from rllib_reborn.checkpoints.run_record import new_run_record
from rllib_reborn.envs.contract import EnvContractError
from rllib_reborn.envs.registry import is_stepped_as_arrays, launches_external_process
from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.experiments.atomic_text import write_text_atomically
from rllib_reborn.experiments.build import build_config, check_replay_fits, config_hash, resolved_dict
from rllib_reborn.experiments.cluster_room import wait_for_room
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.final_evaluation import evaluate_final, write_final_evaluation
from rllib_reborn.experiments.fork import ForkRequest
from rllib_reborn.experiments.interruption import Interruption
from rllib_reborn.experiments.listeners import listeners_of
from rllib_reborn.experiments.load import dump_experiment
from rllib_reborn.experiments.metrics_log import MetricsLog
from rllib_reborn.experiments.preflight import check_trackers
from rllib_reborn.experiments.ray_session import check_gpus, ray_session, show_ray_messages
from rllib_reborn.experiments.resume import RunPlan, plan_run, recorded_settings
from rllib_reborn.experiments.schema import Experiment
from rllib_reborn.experiments.training_loop import Observer, TrainingError, TrainingLoop, root_cause
from rllib_reborn.monitoring import RunFacts, RunListeners
from rllib_reborn.plasticity.interventions.edits import SurgeryRefused
from rllib_reborn.replay import ReplayMemoryError
from rllib_reborn.runtime.process_tuning import garbage_sought_among_new_objects, share_one_heap
from rllib_reborn.runtime.standstill import standstill_announced
from rllib_reborn.secret_settings import hidden, keep_from_others, without_secrets
from rllib_reborn.studies.trained_policy import team_from_algo

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PreparedRun:
    """A run that is ready to start.

    Attributes:
        experiment: What to run.
        config: The validated RLlib config.
        resolved: The experiment with every default, as plain data.
        plan: Where it writes and what it starts from.
        resume, fork: What was asked for as ``--resume`` and ``--from``.
    """

    experiment: Experiment
    config: ValueFactorizationConfig
    resolved: dict[str, Any]
    plan: RunPlan
    resume: str | None = None
    fork: ForkRequest | None = None


@dataclasses.dataclass(frozen=True)
class OpenRun:
    """A run whose folder is held, and whose algorithm is built and restored.

    Attributes:
        prepared: What was planned.
        algo: What is trained.
        loop: Trains it.
    """

    prepared: PreparedRun
    algo: Algorithm
    loop: TrainingLoop

    @contextlib.contextmanager
    def errors_written(self) -> Iterator[None]:
        """What breaks training off inside is written with its traceback to ``error.txt``."""
        try:
            yield
        except TrainingError:
            path, text = self.prepared.plan.folder.error, hidden(traceback.format_exc())
            try:
                path.write_text(text, encoding="utf-8")
            except OSError as error:
                logger.warning("%s could not be written (%s); this is what would be in it:\n%s", path, error, text)
            raise

    def evaluate_final(self) -> dict[str, Any]:
        """Evaluate the policy and a random one, and write ``final_evaluation.json``; returns its content. Nothing can be
        trained afterwards.

        Raises:
            EnvContractError: Games fail again and again.
            OSError: The file cannot be written.
        """
        experiment = self.prepared.experiment
        team, resources = team_from_algo(self.algo), experiment.resources
        resource_request = final_resource_request(experiment)
        if resource_request is not None:
            # The runners are done, and give back what they booked.
            self.algo.stop_runners()
        final = evaluate_final(
            team,
            env=experiment.env,
            env_steps=self.loop.position.env_steps,
            episodes=experiment.evaluation.final_episodes,
            seed=experiment.seed,
            task=present_task(self.algo),
            num_envs=None if is_stepped_as_arrays(experiment.env) else resources.num_envs_per_env_runner,
            resource_request=resource_request,
            timeout_s=_final_timeout_s(experiment),
        )
        write_final_evaluation(final, self.prepared.plan.folder.final_evaluation)
        self.loop.listeners.on_final_evaluation(final)
        return final


@dataclasses.dataclass(frozen=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        env_steps: How far it came, an iteration that was interrupted included.
        interrupted_by: Name of the signal that stopped it, or None: it reached its limit.
        final_evaluation: Content of ``final_evaluation.json``; None when interrupted, or where it could not be written.
        not_written: What is not on the disk, and why, in sentences.
    """

    env_steps: int
    interrupted_by: str | None
    final_evaluation: dict[str, Any] | None
    not_written: tuple[str, ...] = ()


def prepare_run(
    experiment: Experiment,
    *,
    out: Path | None = None,
    resume: str | None = None,
    fork: ForkRequest | None = None,
    team: TeamSpec | None = None,
) -> PreparedRun:
    """Check everything and decide where to write; starts nothing and writes nothing.

    Args:
        experiment: What to run.
        out: Run folder; None: a new one below ``runs/``.
        resume, fork: See :func:`rllib_reborn.experiments.resume.plan_run`.
        team: The environment's, where it was asked already.

    Raises:
        ExperimentError: The experiment cannot be run, or not there.
        CheckpointError: The checkpoint to resume is missing or damaged.
    """
    show_ray_messages(experiment.logging.level)
    check_gpus(experiment)
    check_trackers(experiment)
    config = build_config(experiment, team)
    check_replay_fits(config)
    resolved = resolved_dict(experiment, config)
    plan = plan_run(experiment, config, resolved, out, resume, fork)
    return PreparedRun(experiment, config, resolved, plan, resume, fork)


def execute_run(run: PreparedRun, observer: Observer, command: Sequence[str] = ()) -> RunOutcome:
    """Train until a limit of ``stop`` or a signal, then evaluate.

    Args:
        run: From :func:`prepare_run`.
        observer: Notified of every row and checkpoint.
        command: What the user typed, for the head of ``config.yaml``.

    Raises:
        ExperimentError: As :func:`open_run`.
        TrainingError: Training broke off. The full traceback is in ``error.txt`` of the run folder.
    """
    with open_run(run, observer, command) as opened, Interruption() as interruption:
        opened.algo.interrupt_when(lambda: interruption.received is not None)
        with opened.errors_written():
            opened.loop.run(interruption)
        env_steps, not_written = opened.algo.counters.env_steps, tuple(opened.loop.not_written)
        if not opened.loop.has_ended:
            return RunOutcome(env_steps, interruption.received, None, not_written)
        final = None
        try:
            # All that was learnt is saved.
            with contextlib.suppress(KeyboardInterrupt), interruption.at_once():
                final = opened.evaluate_final()
        except OSError as error:
            path = run.plan.folder.final_evaluation
            not_written = (*not_written, f"{path} could not be written: {root_cause(error)}")
            return RunOutcome(env_steps, None, None, not_written)
        return RunOutcome(env_steps, None if final else interruption.received, final, not_written)


@contextlib.contextmanager
def open_run(run: PreparedRun, observer: Observer, command: Sequence[str] = ()) -> Iterator[OpenRun]:
    """Hold the run folder, connect to Ray, build the algorithm and restore what the run goes on from.

    Args:
        run, observer, command: As of :func:`execute_run`.

    Raises:
        ExperimentError: The run folder is in use or no longer what was planned with, or the replay no longer fits into
            memory.
    """
    experiment, plan = run.experiment, run.plan
    folder, log, events = plan.folder, MetricsLog(plan.folder.metrics), MetricsLog(plan.folder.dormancy)

    def on_wait(reason: str) -> None:
        observer.on_wait(reason)
        listeners.on_wait(reason)

    with contextlib.ExitStack() as held:
        held.enter_context(folder.locked())
        listeners = RunListeners(listeners_of(experiment, folder.root))
        held.callback(listeners.close)
        keep_from_others(folder.root, experiment.env_config)
        held.enter_context(standstill_announced(on_wait))
        _require_as_planned(run)
        share_one_heap()  # before Ray starts its threads
        held.enter_context(ray_session(experiment))
        wait_for_room(experiment, on_wait)
        algo, plan, passed_over = _restored(run, held)
        recorded = recorded_settings(plan, run.resolved)
        try:
            _begin_in(plan, log, events, dump_experiment(recorded, command))
        except OSError as error:
            raise ExperimentError(
                f"{folder.root} cannot be written ({error}); free the disk, or give another --out."
            ) from error
        loop = TrainingLoop(
            algo=algo,
            stop=experiment.stop,
            checkpointing=experiment.checkpoint,
            store=CheckpointStore(folder.checkpoints, experiment.checkpoint.keep, passed_over),
            log=log,
            events=events,
            config_hash=config_hash(recorded),
            observer=observer,
            listeners=listeners,
            position=plan.progress,
            is_saved=plan.fork is None,
            why_unsound=functools.partial(why_unsound, algo),
        )
        listeners.on_start(_facts(experiment, plan, recorded, algo))
        if plan.fork is not None:
            loop.save()  # from here on it needs its source no more
        held.enter_context(garbage_sought_among_new_objects())
        with contextlib.closing(listeners):  # while all that they look at is there
            yield OpenRun(dataclasses.replace(run, plan=plan), algo, loop)


def _facts(experiment: Experiment, plan: RunPlan, recorded: Mapping[str, Any], algo: Algorithm) -> RunFacts:
    return RunFacts(
        folder=plan.folder.root,
        config=without_secrets(recorded),
        algorithm=experiment.algorithm,
        env=experiment.env,
        seed=experiment.seed,
        rows=plan.rows,
        events=plan.events,
        readings=functools.partial(readings, algo),
    )


def _restored(run: PreparedRun, held: contextlib.ExitStack) -> tuple[Algorithm, RunPlan, list[str]]:
    """The algorithm with what the run goes on from, stopped when ``held`` is closed; and the names of checkpoints that were
    passed over. Where no checkpoint was named, one that cannot be restored, for whatever reason, is so for the one before.

    Raises:
        ExperimentError: What was to be restored cannot be.
    """
    plan = run.plan
    passed_over: list[str] = []
    while True:
        checkpoint = plan.checkpoint if plan.fork is None else plan.fork.fork.checkpoint
        try:
            with contextlib.ExitStack() as tried:
                with _reading(checkpoint):
                    expect_saved_team(run.config, checkpoint)
                algo = tried.enter_context(_built(run.config))
                with _reading(checkpoint):
                    _restore(plan, algo)
                held.enter_context(tried.pop_all())
                return algo, plan, passed_over
        except EnvContractError as error:  # no step is made yet
            raise ExperimentError(str(error)) from error
        except CheckpointError as error:
            if checkpoint is None or not plan.falls_back:
                raise ExperimentError(str(error)) from error
            logger.warning("%s Trying the checkpoint before it.", error)
            passed_over.append(checkpoint.name)
            try:
                plan = _plan(run, passed_over)
            except CheckpointError:
                raise ExperimentError(f"{error} No checkpoint before it can be used either.") from error


@contextlib.contextmanager
def _reading(checkpoint: Path | None) -> Iterator[None]:
    """Whatever goes wrong inside with what a checkpoint holds (a pickle can raise anything) is a CheckpointError."""
    try:
        yield
    except (EnvContractError, CheckpointError):
        raise
    except Exception as error:
        lost_process = isinstance(error, RayError) and not isinstance(error, RayTaskError)
        if checkpoint is None or lost_process:
            raise
        raise CheckpointError(f"{checkpoint} cannot be restored ({root_cause(error)}).") from error


def _restore(plan: RunPlan, algo: Algorithm) -> None:
    if plan.checkpoint is not None:
        algo.restore_from_path(str(plan.checkpoint.resolve()))
    if plan.fork is not None:
        plan.fork.write_note(plan.folder)
        with plan.fork.state_in(plan.folder) as state:
            algo.restore_from_path(str(state.resolve()))


def _begin_in(plan: RunPlan, log: MetricsLog, events: MetricsLog, config: str) -> None:
    """Write what a run folder has before the first iteration, keeping beside what of its rows is cut off."""
    folder = plan.folder
    write_text_atomically(folder.config, config)
    if not plan.goes_on_in_its_folder:
        write_text_atomically(folder.record, new_run_record())
    kept = log.replace(plan.rows)
    kept_events = events.replace(plan.events) if plan.events or folder.dormancy.exists() else None
    for note in plan.notes:
        logger.warning("%s", note)
    for path in (kept, kept_events):
        if path is not None:
            logger.warning("What the run had beyond its checkpoint is kept as it was in %s.", path)
    # What an earlier, shorter run of this folder left behind would speak of another policy.
    for outdated in (folder.final_evaluation, folder.error):
        outdated.unlink(missing_ok=True)


def _plan(run: PreparedRun, passed_over: Collection[str] = ()) -> RunPlan:
    return plan_run(
        run.experiment, run.config, run.resolved, run.plan.folder.root, run.resume, run.fork, passed_over=passed_over
    )


def _require_as_planned(run: PreparedRun) -> None:
    """Plan again now that the folder is locked: another process may have trained in it since :func:`prepare_run`.

    Raises:
        ExperimentError: The plan would be another one.
    """
    root = run.plan.folder.root
    try:
        now = _plan(run)
    except CheckpointError as error:
        raise ExperimentError(str(error)) from error
    if _decisions(now) != _decisions(run.plan):
        raise ExperimentError(
            f"another process trained in {root} while this run was starting: its newest checkpoint was "
            f"{_checkpoint_name(run.plan)} and is {_checkpoint_name(now)} now; give the command again to go on from there."
        )


def _decisions(plan: RunPlan) -> tuple[Any, ...]:
    return plan.folder.root.resolve(), plan.checkpoint, plan.progress, len(plan.rows), len(plan.events)


def _checkpoint_name(plan: RunPlan) -> str:
    return "none" if plan.checkpoint is None else plan.checkpoint.name


def final_resource_request(experiment: Experiment) -> dict[str, Any] | None:
    """What the task that plays the final evaluation books, which is what a runner does, where the games are programs or need
    what only some nodes have; None: the driver plays it."""
    resources = experiment.resources
    if not resources.custom_resources_per_env_runner and not launches_external_process(experiment.env):
        return None
    return {
        "num_cpus": resources.num_cpus_per_env_runner,
        "resources": dict(resources.custom_resources_per_env_runner),
    }


def _final_timeout_s(experiment: Experiment) -> float:
    """For its episodes as long as an evaluation in between may take for its own."""
    times = max(1.0, experiment.evaluation.final_episodes / experiment.evaluation.episodes)
    return experiment.resources.evaluation_timeout_s * times


@contextlib.contextmanager
def _built(config: ValueFactorizationConfig) -> Iterator[Algorithm]:
    """The algorithm of ``config``, stopped at the end."""
    try:
        algo = config.build_algo()
    except (ReplayMemoryError, SurgeryRefused) as error:
        raise ExperimentError(str(error)) from error
    try:
        yield algo
    finally:
        algo.stop()

"""What an intervention on a trained team keeps: play episodes, apply it to a copy, count; the same for two controls."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rllib_reborn.callbacks.team_view import team_view
from rllib_reborn.envs.rollout import Rollout, Transition, equal_quotas
from rllib_reborn.nets.mixers import Mixer
from rllib_reborn.plasticity import invariance
from rllib_reborn.plasticity.declared_layers import declared_layers
from rllib_reborn.plasticity.interventions import SurgeryRefused, to_dict
from rllib_reborn.plasticity.interventions.apply import apply_intervention
from rllib_reborn.plasticity.interventions.base import Intervention
from rllib_reborn.plasticity.interventions.reset import ReSet
from rllib_reborn.plasticity.invariance import UnilateralPairs
from rllib_reborn.replay.episode_replay import EpisodeBlock
from rllib_reborn.replay.fields import Episode
from rllib_reborn.runtime.running_games import EpisodeRecorder
from rllib_reborn.studies.trained_policy import TrainedPolicy

Arrays = dict[str, npt.NDArray[Any]]

#: Share of random actions while states are collected, so that they are not all from one greedy path.
EPSILON = 0.3

_EXPLORATION_SALT = 0xF2
_MOST_GAMES = 32
#: Pairs drawn in one go, and at most in all for each strict pair that is asked for.
_DRAW = 8192
_PATIENCE = 20
#: Joint actions that are enumerated in all, and states at most, for IGM. Each costs a pass of the hypernetworks in float64:
#: with six agents of six actions they are most of a study's time.
_IGM_BUDGET, _IGM_STATES = 150_000, 256
#: Rows that a mixer is given at once; its hypernetworks make n * embed_dim weights for each.
_CHUNK = 4096


class StudyRefused(ValueError):  # noqa: N818  (it is no error of ours)
    """This intervention, or this checkpoint, cannot be studied; the message says why."""


@dataclasses.dataclass(frozen=True)
class InvarianceReport:
    """What one application keeps, beside two controls. How each number is computed: ``docs/invariance.md``.

    Attributes:
        strict_pairs: Unilateral pairs with a strict preference before (every later count is over the same ones).
        order_flips: Of them, reversed by the intervention.
        greedy_changed, greedy_changed_share: States whose greedy joint action (each agent's best) changed, and their share.
        function_drift: Mean absolute change of Q_tot of the actions played over its mean absolute value.
        neurons_touched: Neurons that got new weights.
        control_*: The same for the control, re-initialising the agents' last layer.
        greedy_pairs, greedy_beaten: Strict pairs of the greedy joint action and a deviation from it, and of them reversed.
        igm_checked: States in which all joint actions were tried; 0 where there are too many of them.
        igm_violations_before, igm_violations: Of them, states in which the greedy joint action is not the best one, before
            and after; None where nothing was checked.
        agents_identical: Agents' networks equal to the bit before and after.
        mixer_reset_order_flips, mixer_reset_greedy_changed, mixer_reset_function_drift: The other control, all of the mixer
            re-initialised.
        intervention, rule, alpha, beta, layers: What was applied; None where it has no such setting, or a quantile
            stands in its place.
        settings: The same with all its settings, as :func:`~rllib_reborn.plasticity.interventions.make_intervention` takes
            them.
        mixer_neurons: Neurons of the mixer's layers in all; 0: it has none (VDN).
        episodes, states, seed: What was played for the counts, and from which seed.
    """

    strict_pairs: int
    order_flips: int
    greedy_changed: int
    function_drift: float
    neurons_touched: int
    control_strict_pairs: int
    control_order_flips: int
    control_greedy_changed: int
    control_function_drift: float
    control_neurons_touched: int
    greedy_changed_share: float
    control_greedy_changed_share: float
    greedy_pairs: int
    greedy_beaten: int
    igm_checked: int
    igm_violations_before: int | None
    igm_violations: int | None
    agents_identical: bool
    mixer_reset_order_flips: int
    mixer_reset_greedy_changed: int
    mixer_reset_function_drift: float
    intervention: str
    rule: str | None
    alpha: float | None
    beta: float | None
    layers: str
    settings: dict[str, Any]
    mixer_neurons: int
    episodes: int
    states: int
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return dataclasses.asdict(self)

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.mixer_neurons == 0 and self.agents_identical:
            return "This mixer has no neurons (Q_tot is a plain sum): there is nothing in it for an intervention to change."
        if self.neurons_touched == 0 and self.function_drift == 0:
            return (
                "The intervention found nothing to do here, so these counts say nothing about it: try a later checkpoint "
                "or other thresholds."
            )
        if self.strict_pairs == 0:
            return "No pair of joint actions had a strict preference, so there was no order to keep or to break."
        nothing = f"none of {self.strict_pairs:,} strict preferences reversed, every greedy action kept"
        if self.order_flips or self.greedy_changed:
            order = (
                f"NOT knowledge invariant: {self.order_flips:,} of {self.strict_pairs:,} strict preferences reversed, "
                f"{self.greedy_changed:,} greedy actions changed"
            )
        elif self.agents_identical:
            order = f"Knowledge invariant: {nothing}"
        else:
            order = f"Order kept in these states, though the agents' networks changed and nothing assures it: {nothing}"
        power = (
            f"the agent-side control reversed {self.control_order_flips / self.control_strict_pairs:.0%}"
            if self.control_order_flips
            else "but the agent-side control reversed none either, so the test had no power here"
        )
        return f"{order}; Q_tot moved by {100 * self.function_drift:.3g} %; {power}."


@dataclasses.dataclass(frozen=True)
class _TeamValues:
    """Values of a module in the states of a batch of episodes: R states of n agents."""

    q: Tensor  #: [R, n, A] agent values, float64
    mask: Tensor  #: [R, n, A] bool
    state: Tensor  #: [R, s] float64
    played: Tensor  #: [R, n] int64
    mixer: Mixer  #: in float64

    def q_tot(self, rows: Tensor, actions: Tensor) -> Tensor:
        """Q_tot [K] of joint actions ``actions`` [K, n] in the states ``rows`` [K]."""
        parts = []
        for at, joint in zip(rows.split(_CHUNK), actions.split(_CHUNK), strict=True):
            parts.append(self.mixer.of_actions(self.q[at], joint, self.mask[at], self.state[at]))
        return torch.cat(parts) if parts else self.q.new_zeros(0)

    def of_pairs(self, pairs: UnilateralPairs) -> tuple[Tensor, Tensor]:
        return self.q_tot(pairs.rows, pairs.u), self.q_tot(pairs.rows, pairs.v)

    def of_played(self) -> Tensor:
        return self.q_tot(torch.arange(len(self.played), device=self.played.device), self.played)

    def greedy(self) -> Tensor:
        return invariance.greedy_actions(self.q, self.mask)


@dataclasses.dataclass(frozen=True)
class Sample:
    """What a team is studied on; every intervention on the same.

    Attributes:
        scoring_batch: Episodes that give the scores which an intervention needs.
        holdout_batch: Episodes that give the states in which everything is counted.
        before: The team's values in them.
        strict, with_greedy: Pairs of joint actions, see :class:`InvarianceReport`.
        igm_rows, igm_before: States in which every joint action is tried, and violations of IGM before; None where a state
            has too many joint actions.
        random_state: Of the generator behind the draws above.
        episodes, seed: What was played.
    """

    scoring_batch: Arrays
    holdout_batch: Arrays
    before: _TeamValues
    strict: UnilateralPairs
    with_greedy: UnilateralPairs
    igm_rows: Tensor | None
    igm_before: int | None
    random_state: Tensor
    episodes: int
    seed: int


@torch.no_grad()
def draw_sample(team: TrainedPolicy, *, pairs: int = 20_000, episodes: int = 32, seed: int = 0) -> Sample:
    """Play the team and draw pairs of joint actions.

    Args:
        team: A team with a full module (mixer and targets included), as :func:`load_team` gives it.
        pairs: Strict pairs to collect; fewer where the task gives hardly any.
        episodes: Episodes of each of the two sets, >= 1.
        seed: Of games, exploration, pairs and the interventions' draws; equal arguments give equal reports.

    Raises:
        StudyRefused: The module has no mixer (inference only), or its values are not finite.
        EnvContractError: The games fail again and again.
    """
    if not isinstance(getattr(team.module, "mixer", None), nn.Module):
        raise StudyRefused("this checkpoint holds the agents' networks alone; give one that has the mixer too.")
    generator = torch.Generator().manual_seed(seed)
    scoring_batch = play_episodes(team, episodes, seed)
    holdout_batch = play_episodes(team, episodes, seed + 1)
    before = _values_of(team.module, holdout_batch)
    strict = _strict_pairs(before, pairs, generator)
    with_greedy = _strict_of(before, invariance.greedy_pairs(before.q, before.mask, generator))
    rows = _igm_rows(before, generator)
    violations = None if rows is None else _igm_violations(before, rows)
    return Sample(
        scoring_batch,
        holdout_batch,
        before,
        strict,
        with_greedy,
        rows,
        violations,
        generator.get_state(),
        episodes,
        seed,
    )


@torch.no_grad()
def study(team: TrainedPolicy, intervention: Intervention, sample: Sample | None = None) -> InvarianceReport:
    """Apply ``intervention`` to a copy of the team and count what it kept. The team itself is left as it is.

    Args:
        team: As for :func:`draw_sample`.
        intervention: What to apply.
        sample: What :func:`draw_sample` gave for this team; None: with its defaults.

    Raises:
        StudyRefused: As :func:`draw_sample`; or values are not finite after the intervention, or it needs what a checkpoint
            does not hold.
        SurgeryRefused: The intervention refuses these networks.
    """
    check_can_be_studied(intervention)
    _check_scope(intervention, team.module)
    if sample is None:
        sample = draw_sample(team)
    before, holdout_batch, strict = sample.before, sample.holdout_batch, sample.strict
    generator = torch.Generator()
    generator.set_state(sample.random_state)

    changed = copy.deepcopy(team.module)
    touched = _apply(changed, intervention, sample.scoring_batch, generator)
    control = copy.deepcopy(team.module)
    control_touched = _apply(control, ReSet(which="last", scope="agent"), sample.scoring_batch, generator)
    fresh_mixer = copy.deepcopy(team.module)
    _reinitialise(fresh_mixer.mixer, generator)

    after = _values_of(changed, holdout_batch, after=f"after {intervention.kind} ")
    after_control = _values_of(control, holdout_batch, after="with the agents' last layer re-initialised ")
    after_fresh = _values_of(fresh_mixer, holdout_batch, after="with the mixer re-initialised ")
    order = _flips(before, after, strict)
    control_order = _flips(before, after_control, strict)
    beaten = _flips(before, after, sample.with_greedy)
    moved, control_moved = _greedy_changed(before, after), _greedy_changed(before, after_control)
    states = len(before.q)
    igm_after = None if sample.igm_rows is None else _igm_violations(after, sample.igm_rows)
    settings = {field.name: vars(intervention)[field.name] for field in dataclasses.fields(intervention)}
    return InvarianceReport(
        strict_pairs=order.strict_pairs,
        order_flips=order.flips,
        greedy_changed=moved,
        function_drift=invariance.function_drift(before.of_played(), after.of_played()),
        neurons_touched=touched,
        control_strict_pairs=control_order.strict_pairs,
        control_order_flips=control_order.flips,
        control_greedy_changed=control_moved,
        control_function_drift=invariance.function_drift(before.of_played(), after_control.of_played()),
        control_neurons_touched=control_touched,
        greedy_changed_share=moved / states,
        control_greedy_changed_share=control_moved / states,
        greedy_pairs=beaten.strict_pairs,
        greedy_beaten=beaten.flips,
        igm_checked=0 if sample.igm_rows is None else len(sample.igm_rows),
        igm_violations_before=sample.igm_before,
        igm_violations=igm_after,
        agents_identical=invariance.agents_identical(team.module.agents.state_dict(), changed.agents.state_dict()),
        mixer_reset_order_flips=_flips(before, after_fresh, strict).flips,
        mixer_reset_greedy_changed=_greedy_changed(before, after_fresh),
        mixer_reset_function_drift=invariance.function_drift(before.of_played(), after_fresh.of_played()),
        intervention=intervention.kind,
        rule=settings.get("rule"),
        alpha=settings.get("alpha") if settings.get("alpha_quantile") is None else None,
        beta=settings.get("beta") if settings.get("beta_quantile") is None else None,
        layers=intervention.layers,
        settings=to_dict(intervention),
        mixer_neurons=sum(layer.width for layer in declared_layers("mixer", team.module.mixer, "full")),
        episodes=sample.episodes,
        states=states,
        seed=sample.seed,
    )


def play_episodes(team: TrainedPolicy, episodes: int, seed: int, *, epsilon: float = EPSILON) -> Arrays:
    """Whole episodes of the team, partly at random, as a batch that its module can observe.

    Args:
        team: Who plays.
        episodes: >= 1; each game plays a fixed share of them.
        seed: Of games and exploration.
        epsilon: Share of uniformly random legal actions, 0..1.

    Returns:
        :attr:`ReplaySample.batch`: ``lengths`` [E], and the fields of the episodes end to end.

    Raises:
        EnvContractError: The games, or one of them, fail again and again, and no episode of theirs is finished in between.
    """
    count = min(episodes, _MOST_GAMES)
    finished: list[tuple[int, Episode]] = []

    def on_step(transition: Transition) -> None:
        recorder.record_step(transition)
        for game in np.flatnonzero(transition.counted).tolist():
            finished.append((game, recorder.episode(game)))

    env = team.make_env(count)
    try:
        actor = team.make_actor(count, seed, _EXPLORATION_SALT, epsilon)
        rollout = Rollout(env, actor, team.env_name, on_begin=lambda obs: recorder.record_obs(obs), on_step=on_step)
        recorder = EpisodeRecorder(team.spec, count, rollout.lengths)
        rollout.begin(seed)
        rollout.run(quotas=equal_quotas(episodes, count))
    finally:
        env.close()
    finished.sort(key=lambda item: item[0])
    return EpisodeBlock.of([episode for _, episode in finished]).columns()


def check_can_be_studied(intervention: Intervention) -> None:
    """Raise StudyRefused, with the reason, if a saved team's networks are not all that ``intervention`` needs."""
    if intervention.adds_parameters:
        raise StudyRefused(
            f"{intervention.kind} adds parameters when the networks are built; a saved team has no room."
        )
    for needed, what in (
        (intervention.needs_initial, "the weights at the start of the run"),
        (intervention.counts_firing, "when neurons fired during training"),
        (intervention.needs_update_activity or intervention.needs_gradient_activity, "the gradients of training"),
    ):
        if needed:
            raise StudyRefused(f"{intervention.kind} needs {what}, which the networks of a checkpoint do not tell.")
    if intervention.dry_run:
        raise StudyRefused("dry_run is on, so that nothing would change; the study works on a copy anyway.")


def _check_scope(intervention: Intervention, module: Any) -> None:
    """Unknown networks are refused; one without weights (VDN's mixer) is not: the report says that there are no neurons."""
    scope, known = intervention.scope, [*module.networks(), "all"]
    for name in (scope,) if isinstance(scope, str) else scope:
        if name not in known:
            raise StudyRefused(f"scope is {scope!r}; expected one of {', '.join(known)}.")


def _apply(module: Any, intervention: Intervention, scoring_batch: Arrays, generator: torch.Generator) -> int:
    """Apply in place; how many neurons got new weights.

    Raises:
        StudyRefused: Activations before or after are not finite.
        SurgeryRefused: The intervention refuses these networks.
    """
    model_view = team_view(module, intervention.layers, scoring_batch, None, None)
    try:
        return apply_intervention(intervention, model_view, generator=generator).neurons
    except SurgeryRefused:
        raise
    except ValueError as error:
        raise StudyRefused(f"{intervention.kind}: {error}") from error


def _values_of(module: Any, batch: Arrays, *, after: str = "") -> _TeamValues:
    """Values of all actions in all states of whole episodes, the hidden states unrolled from the start of each.

    The networks run as they do in training; only the mixer is then a copy in float64, because its order of two joint actions
    is asked for and a difference of 1e-7 of Q_tot is noise in float32. ``after`` says what was done to the module.

    Raises:
        StudyRefused: Values, or Q_tot, are not finite.
    """
    device = next(module.parameters()).device
    tensors = {name: torch.as_tensor(array, device=device) for name, array in batch.items()}
    packed = module.packed_episodes(tensors)
    q = packed.now(module.agents.unroll(packed.x, packed.layout.obs_sizes)).double()
    values = _TeamValues(
        q=q,
        mask=packed.now(packed.action_mask),
        state=packed.now(packed.state).double(),
        played=packed.taken,
        mixer=copy.deepcopy(module.mixer).double(),
    )
    cause = "there is nothing to compare" if after else "this checkpoint is of a run that diverged"
    if not bool(torch.isfinite(q).all()):
        raise StudyRefused(f"{after}the agents' values are not finite; {cause}.")
    if not bool(torch.isfinite(values.of_played()).all()):
        raise StudyRefused(f"{after}Q_tot is not finite; {cause}.")
    return values


def _strict_pairs(values: _TeamValues, wanted: int, generator: torch.Generator) -> UnilateralPairs:
    """Random unilateral pairs with a strict preference: ``wanted`` of them, fewer when most pairs are ties."""
    found: list[UnilateralPairs] = []
    count = drawn = 0
    while count < wanted and drawn < max(_DRAW, _PATIENCE * wanted):
        rows = torch.randint(len(values.q), (_DRAW,), generator=generator).to(values.q.device)
        pairs = invariance.unilateral_pairs(values.mask[rows], generator)
        if len(pairs.rows) == 0 and not bool((values.mask.sum(-1) > 1).any()):
            break  # no agent ever has a choice
        strict = _strict_of(values, UnilateralPairs(rows[pairs.rows], pairs.u, pairs.v))
        found.append(strict)
        count += len(strict.rows)
        drawn += _DRAW
    if not found:
        return invariance.unilateral_pairs(values.mask[:0], generator)
    return UnilateralPairs(*(torch.cat(parts)[:wanted] for parts in zip(*found, strict=True)))


def _strict_of(values: _TeamValues, pairs: UnilateralPairs) -> UnilateralPairs:
    strict = invariance.strict_preference(*values.of_pairs(pairs)) != 0
    return UnilateralPairs(*(part[strict] for part in pairs))


def _flips(before: _TeamValues, after: _TeamValues, pairs: UnilateralPairs) -> invariance.OrderCount:
    return invariance.order_flips(*before.of_pairs(pairs), *after.of_pairs(pairs))


def _greedy_changed(before: _TeamValues, after: _TeamValues) -> int:
    return int((before.greedy() != after.greedy()).any(-1).sum())


def _igm_rows(before: _TeamValues, generator: torch.Generator) -> Tensor | None:
    """States in which every joint action can be tried; None where there are too many of these."""
    joint = invariance.joint_action_count(before.mask)
    if joint > invariance.MOST_JOINT_ACTIONS:
        return None
    states = min(len(before.q), _IGM_STATES, max(1, _IGM_BUDGET // joint))
    return torch.randperm(len(before.q), generator=generator)[:states].to(before.q.device)


def _igm_violations(values: _TeamValues, rows: Tensor) -> int:
    holds = invariance.igm_holds(values.q[rows], lambda at, actions: values.q_tot(rows[at], actions), values.mask[rows])
    return int((~holds).sum())


def _reinitialise(net: nn.Module, generator: torch.Generator) -> None:
    """Fresh weights, in place, for all of ``net``: the most that can be done to it. Layers draw them by their own rule;
    parameters that stand alone are drawn from a normal distribution as wide as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        for module in net.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()
                continue
            for parameter in module.parameters(recurse=False):
                parameter.normal_(std=float(parameter.square().mean().sqrt()))

"""What an intervention is: frozen settings, and a plan of edits made from measurements. Nothing here writes a
weight."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rllib_reborn.plasticity import masks
from rllib_reborn.plasticity.interventions.edits import Edit
from rllib_reborn.plasticity.neuron_layers import LAYER_CHOICES, LayerChoice, NeuronLayer
from rllib_reborn.plasticity.schedule import ClockUnit, Schedule, check_whole
from rllib_reborn.plasticity.scope import Scope, check_scope, layers_in_scope, networks_in_scope
from rllib_reborn.plasticity.statistics import LayerStatistics

OptimizerPolicy = Literal["keep", "zero", "donor", "layer_mean"]
TargetPolicy = Literal["none", "mirror", "sync"]
ScoringSource = Literal["replay", "latest"]
OPTIMIZER_POLICIES: tuple[OptimizerPolicy, ...] = get_args(OptimizerPolicy)


@dataclasses.dataclass(frozen=True)
class Context:
    """What a plan may look at.

    Attributes:
        layers: Layers in scope, by key.
        statistics: Their statistics on the scoring batch, by key; empty for interventions that need none.
        nets: Networks in scope, by name.
        initial: Network -> parameter name -> its value when the run began; empty unless ``needs_initial``.
        update_activity: [H] by layer key: mean over the updates since the last check of ||grad of row i|| / ||row i||;
            empty unless ``needs_update_activity``.
        generator: CPU generator, seeded equally on all ranks; the only source of randomness.
        state: Memory of this intervention between applications; JSON-like values and tensors, kept in checkpoints.
        clock: Clocks of the run, by :data:`~rllib_reborn.plasticity.schedule.CLOCK_UNITS`.
        gradient_activity: [H] by layer key: E|dL/dz_i| at the update at which this is due, as
            :attr:`~rllib_reborn.plasticity.statistics.GradientStatistics.mean_abs`; empty unless
            ``needs_gradient_activity``.
    """

    layers: Mapping[str, NeuronLayer]
    statistics: Mapping[str, LayerStatistics]
    nets: Mapping[str, nn.Module]
    initial: Mapping[str, Mapping[str, Tensor]]
    update_activity: Mapping[str, Tensor]
    generator: torch.Generator
    state: dict[str, Any]
    clock: Mapping[str, int]
    gradient_activity: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class LayerChange:
    """What a plan does in one layer, for the report.

    Attributes:
        layer: Key.
        width: Neurons of the layer.
        dormant, overactive: How many were found by the intervention's own score (0 where it does not look for them).
        neurons: Neurons that get new weights, donors that are rescaled included. Those that are no donors are watched
            for becoming dormant again.
        donors: Neurons whose weight was shared.
        reinitialised: Neurons that got fresh input weights.
    """

    layer: str
    width: int
    dormant: int = 0
    overactive: int = 0
    neurons: tuple[int, ...] = ()
    donors: tuple[int, ...] = ()
    reinitialised: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Plan:
    """Edits, and what they do in words and numbers. An empty plan is a valid outcome: nothing to do."""

    edits: tuple[Edit, ...] = ()
    changes: tuple[LayerChange, ...] = ()

    @property
    def neurons(self) -> int:
        """Neurons that get new weights."""
        return sum(len(change.neurons) for change in self.changes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Intervention(abc.ABC):
    """Settings that all interventions share; a subclass adds its own and implements :meth:`plan`.

    Attributes:
        every, unit, start, stop: See :class:`~rllib_reborn.plasticity.schedule.Schedule`. Default: every 200,000 env
            steps (ReBorn paper, Table 2).
        scope: Networks that are treated: a name, several names, or ``all``. Our algorithms have ``agent``, ``mixer``
            (treating it keeps the order of joint actions of a monotonic mixer) and, WQMIX and ResQ alone, ``critic``,
            which is a part of their ``mixer``.
        layers: ``official_code``: the layers that the official code marks; ``editable``: every hidden layer whose
            neurons have weights of their own; ``full``: every hidden layer, which QMIX's mixing neurons and GRUs
            refuse. Only for kinds that treat layers of neurons (``treats_layers``).
        scoring_source: Scoring batch: ``replay`` (uniform sample, the paper) or ``latest`` episodes (the official
            code).
        scoring_episodes: Episodes in it, >= 1.
        optimizer: Rows of the optimizer's averages that belong to changed weights: ``keep`` (the official code),
            ``zero`` (ReDo), ``donor``: copied from the donor neuron (zero where there is none), or ``layer_mean``: that of
            squared gradients as the layer's other weights have it on average, that of gradients 0 (ours).
        targets: Target networks: ``none`` (they follow at their next update), ``mirror`` (the same edit), ``sync`` (a
            hard copy).
        bias_compensation: The next layer's bias takes over the dropped neurons' mean output (docs/method.md 5.4).
            Only for kinds that drop neurons (``drops_neurons``).
        allow_inexact: Operate also on layers whose function changes when neurons are split (ELU, tanh, ...).
        dry_run: Report and write nothing.
        drift_updates: After how many updates the change of Q_tot is measured against a shadow without the application, each
            >= 1, ascending. The shadow makes a second update with each of them. Empty: it is only measured right after
            an application, as in a dry run.
    """

    #: What reports and checkpoints call it: the name in ``KINDS``, or ``module:Class``, which is put in by itself.
    kind: ClassVar[str]
    #: Whether plans look at :attr:`Context.statistics`.
    needs_statistics: ClassVar[bool] = True
    #: Whether it is ever due. False: it acts through :meth:`loss` alone, and ``schedule`` must not be asked.
    is_scheduled: ClassVar[bool] = True
    #: Whether it treats the neurons of :attr:`layers`. False: whole parameters, and ``layers`` would be without effect.
    treats_layers: ClassVar[bool] = True
    #: Whether outgoing weights of neurons are dropped, so that a bias can take over their mean output.
    drops_neurons: ClassVar[bool] = True
    #: Whether weight is moved between neurons, which keeps the function for some activations only (``allow_inexact``).
    splits_neurons: ClassVar[bool] = False
    #: Whether :meth:`after_update` does anything.
    acts_after_updates: ClassVar[bool] = False
    #: Whether :meth:`note_firing` is called at every update.
    counts_firing: ClassVar[bool] = False
    #: Whether :meth:`prepare` changes the networks.
    adds_parameters: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "kind" not in cls.__dict__:
            cls.kind = f"{cls.__module__}:{cls.__qualname__}"

    every: int = 200_000
    unit: ClockUnit = "env_steps"
    start: int = 0
    stop: int | None = None
    scope: Scope = "mixer"
    layers: LayerChoice = "official_code"
    scoring_source: ScoringSource = "replay"
    scoring_episodes: int = 32
    optimizer: OptimizerPolicy = "keep"
    target_networks: TargetPolicy = "none"
    bias_compensation: bool = False
    allow_inexact: bool = False
    dry_run: bool = False
    drift_updates: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _ = self.schedule
        object.__setattr__(self, "scope", check_scope(self.scope))
        check_choice("layers", self.layers, LAYER_CHOICES)
        check_choice("scoring_source", self.scoring_source, ("replay", "latest"))
        check_whole("scoring_episodes", self.scoring_episodes, 1)
        check_choice("optimizer", self.optimizer, OPTIMIZER_POLICIES)
        check_choice("target_networks", self.target_networks, ("none", "mirror", "sync"))
        for name in ("bias_compensation", "allow_inexact", "dry_run"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected true or false.")
        if not isinstance(self.drift_updates, tuple | list):
            raise ValueError(f"drift_updates is {self.drift_updates!r}; expected a list of updates, such as [1, 10].")
        for updates in self.drift_updates:
            check_whole("drift_updates", updates, 1)
        object.__setattr__(self, "drift_updates", tuple(sorted(set(self.drift_updates))))
        if self.drift_updates and not self.is_scheduled:
            raise ValueError(
                f"drift_updates is {list(self.drift_updates)}, but {self.kind} is never applied. Leave it out."
            )
        if self.bias_compensation and not self.drops_neurons:
            raise ValueError(
                f"bias_compensation is true, but {self.kind} drops no neurons for a bias to make up for. Leave it out."
            )
        if self.layers != "official_code" and not self.treats_layers:
            raise ValueError(
                f"layers is {self.layers!r}, but {self.kind} treats whole parameters and no layers of neurons. Leave it "
                "out; scope chooses what is treated, and so does parameters where the kind has that setting."
            )

    # What a plan needs may depend on the settings, so these are asked of an intervention and not of its class.

    @property
    def needs_initial(self) -> bool:
        """Whether plans or :meth:`loss` look at :attr:`Context.initial`."""
        return False

    @property
    def needs_update_activity(self) -> bool:
        """Whether plans look at :attr:`Context.update_activity`."""
        return False

    @property
    def needs_gradient_activity(self) -> bool:
        """Whether plans look at :attr:`Context.gradient_activity`."""
        return False

    @property
    def dormant_at(self) -> float:
        """Normalised activation score at or below which the *report* calls a neuron dormant."""
        return masks.ALPHA

    @property
    def overactive_at(self) -> float:
        """Normalised activation score at or above which the *report* calls a neuron over-active."""
        return masks.BETA

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.every, self.unit, self.start, self.stop)

    @property
    def replay_ratio(self) -> float | None:
        """Gradient steps per collected episode that this method prescribes; None: the training loop's own setting."""
        return None

    def batch_columns(self, episodes: int, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
        """Columns that this method adds to the learners' batch of an update.

        The training module reads ``amplitude``: [episodes] > 0, by which the observations and the state of an episode are
        multiplied. Another column is for a module or learner of one's own. Of several interventions that give one column,
        the product is taken.

        Args:
            episodes: Episodes in the batch, all learners' parts together.
            rng: Seeded by the run's seed and clocks; the only source of randomness.

        Returns:
            By name [episodes, ...]; numbers with a fraction are sent as float32.
        """
        return {}

    def networks_in_scope(self, networks: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
        """Those of ``networks`` that are treated, see :func:`~rllib_reborn.plasticity.scope.networks_in_scope`."""
        return networks_in_scope(self.scope, networks)

    def layers_in_scope(self, layers: Iterable[NeuronLayer], networks: Mapping[str, nn.Module]) -> list[NeuronLayer]:
        """Those of ``layers`` that are treated, see :func:`~rllib_reborn.plasticity.scope.layers_in_scope`."""
        return layers_in_scope(self.scope, layers, networks)

    @abc.abstractmethod
    def plan(self, context: Context) -> Plan:
        """What to change. Writes nothing (``context.state`` aside) and draws from ``context.generator`` alone.

        Raises:
            SurgeryRefused: The plan would break the maths; the message gives the reason.
        """

    def prepare(self, nets: Mapping[str, nn.Module]) -> None:  # noqa: B027  (most have nothing to prepare)
        """Once, when the networks are built and before targets, optimizer and DDP exist: allocate parameters that later
        applications use (``adds_parameters``). Must not change what the networks compute.

        Args:
            nets: All networks by name; those out of scope stay as they are.
        """

    def loss(self, nets: Mapping[str, nn.Module], initial: Mapping[str, Mapping[str, Tensor]]) -> Tensor | None:
        """A term to add to the loss, or None; ``nets`` are all networks by name, of which those in scope count."""
        return None

    def note_firing(self, fired: Mapping[str, Tensor], state: dict[str, Any]) -> None:  # noqa: B027  (most count nothing)
        """Called at every update, behind its forward pass, when ``counts_firing``.

        Args:
            fired: [H] bool by layer key, on the layer's device: neurons with an activation above 0 in any row of the
                update's batch that counts, on any learner. A layer that the update did not call is absent.
            state: Memory of this intervention, to change in place (:attr:`Context.state`).
        """

    def after_update(  # noqa: B027  (most do nothing)
        self, layers: Mapping[str, NeuronLayer], nets: Mapping[str, nn.Module], state: dict[str, Any]
    ) -> None:
        """Called after every gradient step when ``acts_after_updates``: hold what must stay as it was put."""


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(choices)}.")


def check_number(name: str, value: Any, low: float, high: float = math.inf) -> None:
    """Raise ValueError unless ``value`` is a finite number in ``low..high``."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or not low <= value <= high:
        raise ValueError(f"{name} is {value!r}; expected a number in {low:g}..{high:g}.")


def check_either(threshold: str, value: Any, default: Any, quantile_name: str, quantile: Any) -> None:
    """A threshold is a number or a quantile, and not both.

    Args:
        threshold, value, default: The number's name, its value, and that which stands where none was given.
        quantile_name, quantile: The same of the quantile; None: none was given.

    Raises:
        ValueError: The quantile is not between 0 and 1, or a number other than the default was given too.
    """
    if quantile is None:
        return
    masks.check_quantile(quantile_name, quantile)
    if value != default:
        raise ValueError(
            f"{threshold} is {value!r} and {quantile_name} is {quantile!r}, two thresholds for the same neurons. Give "
            "one of them."
        )

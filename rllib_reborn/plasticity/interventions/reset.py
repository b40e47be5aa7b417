"""Whole layers are re-initialised: ReSet (Nikishin et al., ICML 2022, as the ReBorn paper has it), SR (D'Oro et al., ICLR
2023)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import nn

from rllib_reborn.plasticity.interventions.base import (
    Context,
    Intervention,
    LayerChange,
    OptimizerPolicy,
    Plan,
    TargetPolicy,
    check_choice,
    check_number,
    check_whole,
)
from rllib_reborn.plasticity.interventions.edits import ParameterEdit, SurgeryRefused
from rllib_reborn.plasticity.interventions.fresh_weights import INITIALIZERS, Initializer
from rllib_reborn.plasticity.interventions.whole_layers import (
    chains,
    check_prefixes,
    fresh_layer,
    join,
    layer_names,
    named_by,
    owned_parameters,
)
from rllib_reborn.plasticity.schedule import ClockUnit
from rllib_reborn.plasticity.scope import Scope

Which = Literal["last", "last_k", "all"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReSet(Intervention):
    """Layers are re-initialised; nothing is scored and the function is not kept.

    The last layers of our networks: the agents' ``head``; in a QMIX mixer the output Linear of every hypernetwork and
    of ``V``. For other networks the rule is :func:`~.whole_layers.chains`, or name them in ``parameters``.

    What the official code calls reset re-initialises every Linear of mixer and agent, by mistake, and a GRUCell
    survives only by a second one (docs/method.md D11): ``which="all", initializer="kaiming"`` is that, but with the
    GRU.

    Target networks: the official code does not touch them (``target_networks="none"``), so that they compute with
    the weights that are gone until their next update; after a reset this is not harmless (docs/method.md 3.6), and
    ``sync`` ends it at once. ``mirror`` writes the same new weights into the target.

    Layers are visited, and draw, in order of their networks and of registration.

    Attributes:
        which: ``last``: the last layer of each chain; ``last_k``: the ``k`` last; ``all``: every Linear, Conv,
            recurrent and normalisation layer.
        k: Layers of each chain for ``last_k``, >= 1; a shorter chain is reset as a whole.
        initializer: ``xavier`` (ReBorn paper, B.26; biases 0) or ``kaiming``, PyTorch's default (official code, D4).
        parameters: Layers or parameters to reset instead of those that ``which`` chooses: names or their beginnings, e.g.
            ``("V.2", "head", "mixer/hyper_b_1.bias")``. Empty: by ``which``.
        scope: ``all`` by default, the paper's ReSet; ``mixer`` is its "ReBorn (ReSet)" (docs/method.md 5.5).
    """

    kind: ClassVar[str] = "reset"
    needs_statistics: ClassVar[bool] = False
    drops_neurons: ClassVar[bool] = False
    treats_layers: ClassVar[bool] = False

    scope: Scope = "all"
    which: Which = "last"
    k: int = 2
    initializer: Initializer = "xavier"
    parameters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("which", self.which, ("last", "last_k", "all"))
        check_choice("initializer", self.initializer, INITIALIZERS)
        check_whole("k", self.k, 1)
        object.__setattr__(self, "parameters", names_of(self.parameters))

    def plan(self, context: Context) -> Plan:
        """See the class. The report has one entry per layer; its neurons are the layer's outputs (GRU: hidden neurons).

        Raises:
            SurgeryRefused: It is not clear what to reset, or no rule is known for a new layer of its kind.
        """
        try:
            chosen = self.chosen(context.nets)
        except ValueError as error:
            raise SurgeryRefused(str(error)) from None
        edits: list[ParameterEdit] = []
        changes: list[LayerChange] = []
        for net, names in chosen.items():
            for path, module, local in owned_parameters(context.nets[net]):
                wanted = [name for name in local if join(path, name) in names]
                if not wanted:
                    continue
                fresh = fresh_layer(module, f"{net}/{path}", self.initializer, context.generator)
                edits += [ParameterEdit(net, join(path, name), 0.0, fresh[name]) for name in wanted]
                width = next(iter(fresh.values())).shape[0]
                if isinstance(module, nn.RNNBase | nn.RNNCellBase):
                    width = module.hidden_size
                neurons = tuple(range(width))
                key = f"{net}/{path}" if path else net
                changes.append(LayerChange(layer=key, width=width, neurons=neurons, reinitialised=neurons))
        return Plan(tuple(edits), tuple(changes))

    def chosen(self, nets: Mapping[str, nn.Module]) -> dict[str, set[str]]:
        """Names of the parameters to reset, by network; networks without parameters (VDN's mixer) have none.

        Raises:
            ValueError: A name in ``parameters`` that is not there; or a network whose last layer is not clear.
        """
        every = {net: [name for name, _ in module.named_parameters()] for net, module in nets.items()}
        if self.parameters:
            check_prefixes(self.parameters, every)
            return {
                net: {name for prefix in self.parameters for name in named_by(net, names, prefix)}
                for net, names in every.items()
            }
        found: dict[str, set[str]] = {}
        for net, module in nets.items():
            if self.which == "all":
                paths = layer_names(module)
                found[net] = _parameters_of(module, paths)
                rest = [name for name in every[net] if name not in found[net]]
                if rest:
                    raise ValueError(
                        f"{net}: no rule for new values of {', '.join(rest)}; name what to reset in 'parameters'."
                    )
                continue
            ends = chains(module)
            if every[net] and not ends:
                raise ValueError(
                    f"{net}: a {type(module).__name__} without a last Linear; name what to reset in 'parameters'."
                )
            k = 1 if self.which == "last" else self.k
            found[net] = _parameters_of(module, [path for chain in ends for path in chain[-k:]])
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class SR(ReSet):
    """Scaled-by-Resetting (D'Oro et al., ICLR 2023): many updates per episode, and everything reset every so many
    updates.

    The ReBorn paper compares with it and gives no settings (docs/method.md 6, 10). Our defaults and where they are
    from:

    - ``every=2_560_000`` ``updates``: SR-SAC's reset period (docs/method.md 6). A run of ours makes far fewer: 20,000
      episodes at 4 updates are 80,000. **Give ``every`` for your run**; with the default nothing happens in a short
      one.
    - ``updates_per_episode=4``: ours; the source scales the replay ratio up to 128 updates per env step of SAC.
    - ``which="all"``, ``initializer="kaiming"``: the whole agent as it was built; our networks are built by PyTorch's
      default. ``scope="all"``, ``target_networks="sync"``, ``optimizer="zero"``: nothing of the old agent but its
      replay stays.

    Attributes:
        updates_per_episode: Replay ratio, > 0; the training loop uses it in place of its own setting.
    """

    kind: ClassVar[str] = "sr"

    every: int = 2_560_000
    unit: ClockUnit = "updates"
    which: Which = "all"
    initializer: Initializer = "kaiming"
    optimizer: OptimizerPolicy = "zero"
    target_networks: TargetPolicy = "sync"
    updates_per_episode: float = 4.0

    @property
    def replay_ratio(self) -> float:
        return self.updates_per_episode

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("updates_per_episode", self.updates_per_episode, 1e-6)


def names_of(parameters: object) -> tuple[str, ...]:
    """``parameters`` as a tuple (YAML gives a list).

    Raises:
        ValueError: It is not a list of names.
    """
    good = isinstance(parameters, tuple | list) and all(isinstance(name, str) and name for name in parameters)
    if not good or not isinstance(parameters, tuple | list):
        raise ValueError(f"parameters is {parameters!r}; expected names of layers or parameters, e.g. ['V.2', 'head'].")
    return tuple(parameters)


def _parameters_of(net: nn.Module, paths: list[str]) -> set[str]:
    return {join(path, name) for path in paths for name, _ in net.get_submodule(path).named_parameters()}

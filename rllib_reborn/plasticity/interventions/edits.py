"""Edits of weights as plain data: planned once, then written to the online network, to its target, or to a copy.

A plan describes symbolically what changes ("neuron 7 becomes 0.8 times neuron 3"), so that the same plan can be written to
another network of the same shape ("mirror"). All writes to weights in this package happen in :func:`write_edits`, and
between applications in :func:`zero_outgoing`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from rllib_reborn.plasticity.neuron_layers import NeuronLayer, Surgery
from rllib_reborn.suggestions import did_you_mean


@dataclasses.dataclass(frozen=True)
class NeuronEdit:
    """New weights for some neurons of one layer; all others stay bit-equal.

    For each touched neuron u (position k), with w the weights before the edit::

        w_in[u]  = in_scale[k] * w_in[donor[k]]          b[u] = in_scale[k] * b[donor[k]]      if donor[k] >= 0
        w_in[u]  = fresh_in[k]                           b[u] = fresh_bias[k]                  otherwise
        w_out[:, u] = out_scale[:, k] * w_out[:, donor[k]]                                     if donor[k] >= 0
        w_out[:, u] = fresh_out[:, k]                                                          otherwise

    Attributes:
        layer: Key of the layer.
        neurons: [K] int64, distinct.
        donors: [K] int64, the neuron whose weights are copied, or -1. A neuron may be its own donor (it is then
            rescaled).
        in_scale: [K] > 0.
        out_scale: [out, K] or [1, K].
        fresh_in: [K, ...] input weights; rows of neurons with a donor are not read.
        fresh_bias: [K]; not read where the layer has no bias.
        fresh_out: [out, K, rest] or None: zeros.
        keep_input: True leaves input weights and biases of neurons WITHOUT a donor as they are (pruning).
        compensation: [H] mean activation of neurons whose old outgoing weight is dropped, 0 elsewhere; the next layer's
            bias takes over ``sum_u w_out[:, u] * compensation[u]``. None: no compensation.
    """

    layer: str
    neurons: Tensor
    donors: Tensor
    in_scale: Tensor
    out_scale: Tensor
    fresh_in: Tensor
    fresh_bias: Tensor
    fresh_out: Tensor | None = None
    keep_input: bool = False
    compensation: Tensor | None = None

    @property
    def changes_input(self) -> Tensor:
        """[K] bool: whose input weights and biases are written to (a neuron that is its own donor at scale 1 keeps
        its)."""
        donated = (self.donors >= 0) & ~((self.donors == self.neurons) & (self.in_scale == 1))
        return donated | ((self.donors < 0) & (not self.keep_input))


@dataclasses.dataclass(frozen=True)
class ParameterEdit:
    """``p <- keep * p + add`` for one whole parameter.

    Attributes:
        net: ``"mixer"``, ``"agent"``, ...
        name: Name of the parameter or buffer in that network, as in its ``state_dict``.
        keep: Factor; at 0 the old values are not read (they may have diverged).
        add: Tensor of the parameter's shape.
    """

    net: str
    name: str
    keep: float
    add: Tensor


Edit = NeuronEdit | ParameterEdit


class SurgeryRefused(ValueError):  # noqa: N818 - it names what happened
    """An edit would break what it promises to keep; the message gives the reason and what to do."""


def fresh_neurons_edit(
    layer: NeuronLayer,
    neurons: Tensor,
    fresh_in: Tensor,
    fresh_bias: Tensor,
    *,
    fresh_out: Tensor | None = None,
    compensation: Tensor | None = None,
) -> NeuronEdit:
    """``neurons`` [K] get new input weights [K, ...] and biases [K], and new outgoing weights [out, K, rest] (None:
    zeros)."""
    count = len(neurons)
    return NeuronEdit(
        layer=layer.key,
        neurons=neurons,
        donors=torch.full((count,), -1, dtype=torch.int64),
        in_scale=torch.ones(count),
        out_scale=torch.ones(1, count),
        fresh_in=fresh_in,
        fresh_bias=fresh_bias,
        fresh_out=fresh_out,
        compensation=compensation,
    )


def zero_outgoing_edit(layer: NeuronLayer, neurons: Tensor, *, compensation: Tensor | None = None) -> NeuronEdit:
    """``neurons`` [K] lose their outgoing weights and keep what goes in."""
    if layer.input_weight is None:
        raise refusal(layer)
    empty = torch.zeros((len(neurons), *layer.input_weight.shape[1:]))
    edit = fresh_neurons_edit(layer, neurons, empty, torch.zeros(len(neurons)), compensation=compensation)
    return dataclasses.replace(edit, keep_input=True)


def compensation_for(layer: NeuronLayer, mean: Tensor, dropped: Tensor) -> Tensor:
    """[H] ``mean`` activations [H] of the ``dropped`` neurons [K], 0 elsewhere: see :attr:`NeuronEdit.compensation`.

    Raises:
        SurgeryRefused: Nothing is there to take it over.
    """
    if layer.output_bias is None:
        raise _no_bias(layer.key)
    kept = torch.zeros(layer.width, dtype=torch.float64)
    kept[dropped] = mean.detach().to("cpu", torch.float64)[dropped]
    return kept


def require_editable(layer: NeuronLayer, *, splits: bool, allow_inexact: bool) -> None:
    """Raise unless neurons of ``layer`` can be edited.

    Args:
        layer: Any.
        splits: The edit shares a neuron's weight among several and promises to keep the function.
        allow_inexact: The opt-in for layers where splitting does not keep it.

    Raises:
        SurgeryRefused: There is nothing to edit, or splitting would change the function and ``allow_inexact`` is off.
    """
    if layer.surgery is Surgery.IMPOSSIBLE:
        raise refusal(layer)
    if splits and layer.surgery is Surgery.INEXACT and not allow_inexact:
        raise SurgeryRefused(
            f"{layer.key}: {layer.reason or 'splitting its neurons changes the function'}. "
            "Set allow_inexact to operate on it all the same, or choose a scope without it."
        )


def refusal(layer: NeuronLayer) -> SurgeryRefused:
    """Why no neuron of ``layer`` can be edited."""
    reason = layer.reason or "its neurons have no weights of their own"
    return SurgeryRefused(
        f"{layer.key}: cannot be edited: {reason}. "
        "It can be scored only; choose layers='editable' (every hidden layer but such) or another scope to leave it out."
    )


def write_edits(edits: Sequence[Edit], layers: Mapping[str, NeuronLayer], nets: Mapping[str, nn.Module]) -> None:
    """Write a plan in place; Parameter objects, shapes, dtypes and devices stay.

    Edits are written one after the other, and each reads all it needs before it writes. They must not all read first:
    in a chain of layers the outgoing weight of one is the input weight of the next, and where both are edited, the
    splits of rows and of columns have to be composed for the function to stay.

    Args:
        edits: The plan.
        layers: By key; of the network that is written to.
        nets: By name; for :class:`ParameterEdit`.

    Raises:
        SurgeryRefused: A layer cannot be edited, is not there, or is of another shape; nothing was written.
    """
    check_edits(edits, layers, nets)
    with torch.no_grad():
        for edit in edits:
            if isinstance(edit, NeuronEdit):
                _write_neurons(edit, layers[edit.layer])
            else:
                _write_parameter(edit, find_tensor(edit, nets))


def zero_outgoing(layer: NeuronLayer, neurons: Tensor) -> None:
    """Outgoing weights of ``neurons`` [K] become 0, in place: what :func:`zero_outgoing_edit` did, cheap enough for each
    update.

    Raises:
        SurgeryRefused: No weight reads the neurons.
    """
    if layer.output_weight is None:
        raise refusal(layer)
    # Splitting a dimension is a view whatever the memory format.
    columns = layer.output_weight.detach().unflatten(1, (layer.width, -1))
    columns.index_fill_(1, neurons.to(columns.device), 0.0)


def check_edits(edits: Sequence[Edit], layers: Mapping[str, NeuronLayer], nets: Mapping[str, nn.Module]) -> None:
    """Raise SurgeryRefused where :func:`write_edits` would; writes nothing."""
    for edit in edits:
        if isinstance(edit, NeuronEdit):
            if edit.layer not in layers:
                raise SurgeryRefused(f"{edit.layer!r} is not a layer here.{did_you_mean(edit.layer, layers)}")
            _check_neurons(edit, layers[edit.layer])
        else:
            tensor = find_tensor(edit, nets)
            _expect(f"{edit.net}/{edit.name}", "add", edit.add, tensor.shape)


def find_tensor(edit: ParameterEdit, nets: Mapping[str, nn.Module]) -> Tensor:
    """The parameter or buffer that ``edit`` is about.

    Raises:
        SurgeryRefused: There is none of that name.
    """
    if edit.net not in nets:
        raise SurgeryRefused(f"{edit.net!r} is not a network here.{did_you_mean(edit.net, nets)}")
    found = nets[edit.net].state_dict(keep_vars=True)
    if edit.name not in found:
        raise SurgeryRefused(f"{edit.net} has no parameter {edit.name!r}.{did_you_mean(edit.name, found)}")
    tensor: Tensor = found[edit.name]
    return tensor


def edit_neurons(
    values: Tensor, edit: NeuronEdit, fresh: Tensor | float, scale: Tensor | float, chosen: Tensor
) -> None:
    """``values`` [H, ...] along the neurons, in place: ``scale * values[donor]``, or ``fresh`` where there is no donor.

    Args:
        values: Weights or anything of their shape (an optimizer's average), neurons first.
        edit: Which neurons, and from whom.
        fresh, scale: A number, or a tensor that broadcasts to [K, ...].
        chosen: [K] bool: the neurons of the edit to write to.
    """
    device = values.device
    like = values[edit.neurons.to(device)]
    fresh_rows = torch.as_tensor(fresh).to(device, values.dtype).expand_as(like)
    scale_rows = torch.as_tensor(scale).to(device, values.dtype).expand_as(like)
    donated = (edit.donors >= 0) & chosen
    undonated = (edit.donors < 0) & chosen
    # Indexing copies: donors are read before anything is written.
    rows = values[edit.donors[donated].to(device)] * scale_rows[donated.to(device)]
    values[edit.neurons[donated].to(device)] = rows
    values[edit.neurons[undonated].to(device)] = fresh_rows[undonated.to(device)]


def _write_neurons(edit: NeuronEdit, layer: NeuronLayer) -> None:
    if layer.input_weight is None or layer.output_weight is None:
        raise refusal(layer)
    chosen = edit.changes_input
    rows = layer.input_weight.detach().clone()
    edit_neurons(rows, edit, edit.fresh_in, _like(edit.in_scale, rows), chosen)
    bias = None if layer.input_bias is None else layer.input_bias.detach().clone()
    if bias is not None:
        edit_neurons(bias, edit, edit.fresh_bias, edit.in_scale, chosen)

    before = layer.columns(layer.output_weight.detach())  # [out, H, rest]
    columns = before.clone()
    fresh_out = 0.0 if edit.fresh_out is None else edit.fresh_out.movedim(1, 0)
    out_scale = edit.out_scale.t().unsqueeze(-1)  # [K, out or 1, 1]
    edit_neurons(columns.movedim(1, 0), edit, fresh_out, out_scale, torch.ones_like(chosen))

    layer.input_weight.copy_(rows)
    if layer.input_bias is not None and bias is not None:
        layer.input_bias.copy_(bias)
    if edit.compensation is not None and layer.output_bias is not None:
        mean_output = edit.compensation.to(before.device, before.dtype)
        layer.output_bias.add_((before.sum(dim=2) * mean_output).sum(dim=1))
    # Copied back whole, as it need not be laid out so that its columns can be viewed (channels last).
    layer.output_weight.copy_(columns.reshape(layer.output_weight.shape))


def _write_parameter(edit: ParameterEdit, tensor: Tensor) -> None:
    add = edit.add.to(tensor.device)
    tensor.copy_(add if edit.keep == 0 else edit.keep * tensor.detach() + add)


def _like(scale: Tensor, rows: Tensor) -> Tensor:
    """``scale`` [K] as [K, 1, ...], to multiply ``rows`` [H, ...]."""
    return scale.reshape(-1, *([1] * (rows.dim() - 1)))


def _check_neurons(edit: NeuronEdit, layer: NeuronLayer) -> None:
    require_editable(layer, splits=False, allow_inexact=True)
    if layer.input_weight is None or layer.output_weight is None:
        raise refusal(layer)
    key, count = edit.layer, len(edit.neurons)
    out, _, rest = layer.columns(layer.output_weight.detach()).shape
    _expect(key, "neurons", edit.neurons, (count,))
    _expect(key, "donors", edit.donors, (count,))
    for name, indices, low in (("neurons", edit.neurons, 0), ("donors", edit.donors, -1)):
        if indices.dtype != torch.int64:
            raise SurgeryRefused(f"{key}: {name} are {indices.dtype}; expected torch.int64.")
        if count and not low <= int(indices.min()) <= int(indices.max()) < layer.width:
            raise SurgeryRefused(f"{key}: {name} are {indices.tolist()}; expected {low}..{layer.width - 1}.")
    if len(torch.unique(edit.neurons)) != count:
        raise SurgeryRefused(f"{key}: neurons are {edit.neurons.tolist()}; expected each once.")
    _expect(key, "in_scale", edit.in_scale, (count,))
    if not bool((torch.isfinite(edit.in_scale) & (edit.in_scale > 0)).all()):
        raise SurgeryRefused(f"{key}: in_scale is {edit.in_scale.tolist()}; expected finite numbers > 0.")
    if edit.out_scale.shape != (1, count):
        _expect(key, "out_scale", edit.out_scale, (out, count))
    _expect(key, "fresh_in", edit.fresh_in, (count, *layer.input_weight.shape[1:]))
    _expect(key, "fresh_bias", edit.fresh_bias, (count,))
    if edit.fresh_out is not None:
        _expect(key, "fresh_out", edit.fresh_out, (out, count, rest))
    if edit.compensation is not None:
        _expect(key, "compensation", edit.compensation, (layer.width,))
        if layer.output_bias is None:
            raise _no_bias(key)


def _no_bias(key: str) -> SurgeryRefused:
    return SurgeryRefused(
        f"{key}: the layer that reads its neurons has no bias to take over the dropped neurons' mean output. "
        "Set bias_compensation to false, or give that layer a bias."
    )


def _expect(key: str, name: str, tensor: Tensor, shape: Sequence[int]) -> None:
    if tuple(tensor.shape) != tuple(shape):
        raise SurgeryRefused(f"{key}: {name} is {list(tensor.shape)}; expected {list(shape)}.")

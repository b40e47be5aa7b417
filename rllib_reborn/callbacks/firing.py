"""Which neurons fire at an update: read while the update's own forward pass runs, for interventions that count it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor
from torch.utils.hooks import RemovableHandle

from rllib_reborn.callbacks.plasticity_runtime import PlasticityRuntime
from rllib_reborn.callbacks.ranks import any_on_all_ranks
from rllib_reborn.plasticity.neuron_layers import NeuronLayer, by_key


class FiringCounter:
    """Tells the interventions of ``runtime`` that count firing, at every update, which neurons fired. Costs nothing where
    there is none. Equal on all ranks: a neuron fires if it does on any of them."""

    def __init__(self, runtime: PlasticityRuntime) -> None:
        self._runtime = runtime
        self._positions = [i for i, one in enumerate(runtime.interventions) if one.counts_firing]
        self._handles: list[RemovableHandle] = []
        #: By layer key, for every call of it: [rows, H] bool, h > 0.
        self._positive: dict[str, list[Tensor]] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around an update. Watched is its first forward pass, up to :meth:`note`."""
        try:
            for layer in self._layers().values():
                self._handles.append(layer.hook.attach(self._reader(layer)))
            yield
        finally:
            self._stop()

    def note(self, row_masks: Callable[[], Mapping[str, Tensor]]) -> None:
        """Behind the forward pass of an update: its neurons are counted, and nothing more is watched.

        Args:
            row_masks: Gives by layer key which rows count, as for
                :func:`~rllib_reborn.plasticity.statistics.recording`; layers without a mask count all.

        Raises:
            ValueError: A layer saw another number of rows than its mask has.
        """
        positive = self._positive
        self._stop()
        if not positive:
            return
        masks = row_masks()
        fired = any_on_all_ranks({key: _fired(key, positive[key], masks.get(key)) for key in sorted(positive)})
        for position in self._positions:
            keys = [layer.key for layer in self._runtime.layers_in_scope(self._runtime.interventions[position])]
            here = {key: fired[key] for key in keys if key in fired}
            self._runtime.interventions[position].note_firing(here, self._runtime.memories[position])

    def _layers(self) -> dict[str, NeuronLayer]:
        found: dict[str, NeuronLayer] = {}
        for position in self._positions:
            found |= by_key(self._runtime.layers_in_scope(self._runtime.interventions[position]))
        return found

    def _reader(self, layer: NeuronLayer) -> Callable[[Tensor], None]:
        def read(h: Tensor) -> None:
            fired = h.detach() > 0
            if layer.hook.neuron_dim == 1 and h.dim() > 2:
                fired = fired.flatten(1, -2).any(1)  # a channel fires where it does in any place
            self._positive.setdefault(layer.key, []).append(fired.reshape(-1, layer.width))

        return read

    def _stop(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._positive = [], {}


def _fired(key: str, calls: list[Tensor], mask: Tensor | None) -> Tensor:
    """[H] bool: neurons with ``h > 0`` in a row that counts, of any of the calls."""
    found = None
    for rows in calls:
        if mask is not None:
            if len(mask) != len(rows):
                raise ValueError(
                    f"{key}: the row mask has {len(mask)} entries, the layer saw {len(rows)} rows of this update; expected "
                    "one entry per row. Choose a scope without it."
                )
            rows = rows & mask.to(rows.device).unsqueeze(1)
        of_call = rows.any(0)
        found = of_call if found is None else found | of_call
    assert found is not None  # there is a list for layers that were called only
    return found

"""On a GPU, an update as one call: episodes padded to a few lengths, and what reads tensors alone captured as a CUDA graph.

Launched one by one, the kernels of an update (480 for QMIX) keep the GPU waiting for the host most of the time. So forward
and backward passes, clipping, the guard against gradients that are not finite, the optimizer's step and the scalars for the
log are recorded once for each length that episodes are padded to, and replayed. Target copies, callbacks and interventions
stay outside and write in place; what was recorded reads weights where they are.

What is recorded is what :meth:`CapturedUpdates.run` calls, on tensors that stay where they are. Without a GPU the same code
runs with another ``capture`` in tests; :func:`uncaptured` repeats the call itself.

An update is captured where nothing looks into it: no request for an intervention or a check comes with it, and no callback
adds to the loss or watches it (:meth:`~rllib_reborn.callbacks.LearnerCallback.leaves_updates_alone`). Else it is made as on
the CPU.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from torch import Tensor

from rllib_reborn.algorithms.value_factorization.learner_updates import (
    AMPLITUDE,
    LONGEST_EPISODE,
    REAL_LENGTHS,
    REWARD_FACTOR,
    STEPS_OF_ALL_LEARNERS,
    layout_of,
    packed_columns,
)
from rllib_reborn.algorithms.value_factorization.replay_mirror import ReplayMirror, torch_dtype
from rllib_reborn.replay.episode_replay import SLOTS
from rllib_reborn.replay.fields import OBSERVATION_FIELDS

logger = logging.getLogger(__name__)

#: The shortest length that episodes are padded to; the others are twice as long each, up to the longest episode.
SHORTEST = 25
#: Updates of a length before it is captured: libraries choose and allocate at their first calls.
WARM_UPS = 3

#: Columns with a number for each episode, or with one.
_WITHOUT_STEPS = ("lengths", REAL_LENGTHS, AMPLITUDE, STEPS_OF_ALL_LEARNERS, LONGEST_EPISODE, SLOTS, REWARD_FACTOR)

#: Makes ``work`` repeatable: called with it and the parameters whose gradients it sets; gives what repeats it.
Capture = Callable[[Callable[[], Tensor], Sequence[Tensor]], Callable[[], Tensor]]


def padded_length(longest: int, limit: int) -> int:
    """Env steps that episodes of at most ``longest`` are padded to: 25, 50, 100, ..., but not beyond ``limit``, the longest
    possible episode."""
    length = SHORTEST
    while length < longest:
        length *= 2
    return max(longest, min(length, limit))


class PaddedBatch:
    """Tensors of one size that padded episodes are copied into, at most ``length`` env steps each.

    Behind the end of an episode everything is zero and every action allowed, so that values there are finite; the loss
    multiplies them by 0.

    Args:
        columns: Of a batch of this size, see :func:`~.learner_updates.learner_batches`, without the first dimension of 1.
        length: Env steps of each episode with its padding.
        device: Where the tensors are.
        mirror: Where the episodes are, if ``columns`` name them by slots.

    Attributes:
        batch: What the learner reads: the columns [1, ...], :data:`~.learner_updates.REAL_LENGTHS` among them.
    """

    def __init__(
        self,
        columns: Mapping[str, npt.NDArray[Any]],
        length: int,
        device: torch.device,
        mirror: ReplayMirror | None = None,
    ) -> None:
        self.length = length
        self.episodes = len(columns["lengths"])
        # Pinned, so that the GPU fetches them by itself. Every update waits for its results before the next is filled in.
        host = {name: self._room(name, array, device.type == "cuda") for name, array in columns.items()}
        host[REAL_LENGTHS] = self._room(REAL_LENGTHS, columns["lengths"], device.type == "cuda")
        host["lengths"].fill_(length)
        if mirror is None:
            host["action_mask"].fill_(True)
        self._host, self._mirror = host, mirror
        self.batch = {name: torch.zeros_like(room, device=device) for name, room in host.items()}
        for name, (shape, dtype) in {} if mirror is None else mirror.layout.items():
            rows = self.episodes * (length + (name in OBSERVATION_FIELDS))
            self.batch[name] = torch.zeros(1, rows, *shape, dtype=_as_read(dtype), device=device)
        self._filled = [0] * self.episodes  #: Env steps of the episodes of the last batch.

    def fill(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take in the episodes of ``columns``, whose names, dtypes and sizes are those of the first batch."""
        lengths = columns["lengths"].tolist()
        self._host[REAL_LENGTHS][0] = torch.from_numpy(columns["lengths"])
        for name, array in columns.items():
            if name == "lengths":
                continue
            room, more = self._host[name].numpy()[0], _rows_more(name)
            if more is None:
                room[...] = array
                continue
            if len(array) == len(room):  # all of full length
                room[...] = array
                continue
            filled, at = room.reshape(self.episodes, self.length + more, *array.shape[1:]), 0
            for episode, (length, before) in enumerate(zip(lengths, self._filled, strict=True)):
                rows = length + more
                filled[episode, :rows] = array[at : at + rows]
                if length < before:
                    filled[episode, rows : before + more] = name == "action_mask"
                at += rows
        self._filled = lengths
        for name, room in self._host.items():
            self.batch[name].copy_(room, non_blocking=True)
        if self._mirror is not None:
            self._mirror.fill_padded(self.batch, self.batch[SLOTS][0], self.length)
            if REWARD_FACTOR in columns:
                self.batch["reward"].mul_(float(columns[REWARD_FACTOR][0]))

    def _room(self, name: str, array: npt.NDArray[Any], pinned: bool) -> Tensor:
        more = _rows_more(name)
        rows = len(array) if more is None else self.episodes * (self.length + more)
        dtype = _as_read(torch_dtype(array.dtype))
        return torch.zeros(1, rows, *array.shape[1:], dtype=dtype, pin_memory=pinned)


def _as_read(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which networks and loss read a column that is stored in ``dtype``."""
    return torch.float32 if dtype.is_floating_point else dtype


def _rows_more(name: str) -> int | None:
    """Rows of a column that an episode has beyond its env steps; None: the column has none for each step."""
    if name in _WITHOUT_STEPS:
        return None
    return 1 if name in OBSERVATION_FIELDS else 0


class CapturedUpdates:
    """The captured updates of a learner, one for each length and whatever else decides what is computed.

    Args:
        learner: A :class:`~.learner.ValueFactorizationLearner` that is built; with a module of its own, not shared by DDP.
        capture: How; :func:`cuda_graph` where it is on a GPU.

    Attributes:
        capture: The same; :func:`uncaptured` once an update could not be captured.
        replays: What repeats each update that is captured.
    """

    def __init__(self, learner: Any, capture: Capture) -> None:
        self._learner = learner
        self.capture = capture
        self._optimizer: torch.optim.Optimizer = learner.get_optimizer(DEFAULT_MODULE_ID)
        self._parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        self._padded: dict[Any, PaddedBatch] = {}
        self._limit: int = learner.module[DEFAULT_MODULE_ID].unwrapped().spec.episode_limit
        self._aside = torch.cuda.Stream(learner.device) if learner.device.type == "cuda" else None
        #: The learning rate as what is captured reads it: it may follow a schedule.
        self._lr = torch.zeros((), device=learner.device)
        self.forget()

    def forget(self) -> None:
        """Capture anew: an intervention was applied, or a state was loaded."""
        self.replays: dict[Any, Callable[[], Tensor]] = {}
        #: Names of the scalars that each update gives beyond loss and norm.
        self._names: dict[Any, list[str]] = {}
        self._warm: Counter[Any] = Counter()
        self._fixed: Any = None

    # ------------------------------------------------------------------ a batch

    def batch_of(self, request: Any, batch: Any) -> dict[str, Tensor] | None:
        """What :meth:`load` gives of an update's batch; None also where a request or a callback looks into the update."""
        if request is not None or not all(one.leaves_updates_alone() for one in self._learner.learner_callbacks):
            return None
        return self.load(batch)

    def load(self, batch: Any) -> dict[str, Tensor] | None:
        """The episodes of a learner's batch, padded, in the tensors that updates of this length read; None where they are no
        arrays of the host, or have a column of their own that is not one of env steps: how to pad it is not known."""
        columns = packed_columns(batch.policy_batches[DEFAULT_MODULE_ID])
        lengths = columns["lengths"]
        steps = int(lengths.sum())
        for name, array in columns.items():
            if not isinstance(array, np.ndarray) or (_rows_more(name) == 0 and len(array) != steps):
                return None
        length = padded_length(int(lengths.max()), self._limit)
        key = (length, *((name, array.dtype, array.shape[1:]) for name, array in columns.items()), len(lengths))
        if key not in self._padded:
            mirror = self._learner.replay_mirror if SLOTS in columns else None
            self._padded[key] = PaddedBatch(columns, length, self._learner.device, mirror)
        self._padded[key].fill(columns)
        return self._padded[key].batch

    # ------------------------------------------------------------------ an update

    def run(self, batch: Mapping[str, Tensor]) -> tuple[float, float, dict[str, float]]:
        """One gradient step on a batch that :meth:`load` gave: the loss, the gradient's norm, other scalars for the log."""
        if (fixed := self._what_is_fixed()) != self._fixed:
            self.forget()
            self._fixed = fixed
        key = (id(batch), self._learner.capture_key())
        if key not in self.replays and self._warm[key] >= WARM_UPS:
            self._try_to_capture(key, batch)
        if key in self.replays:
            self._put_learning_rate()
            scalars = self.replays[key]()
        else:
            self._warm[key] += 1
            with self._on_side_stream():
                scalars = self._work(batch, key)
        loss, norm, *others = scalars.tolist()  # the one time that the host waits
        return loss, norm, dict(zip(self._names[key], others, strict=True))

    def _work(self, batch: Mapping[str, Tensor], key: Any) -> Tensor:
        """Loss, gradient and step; reads and writes tensors alone. Scalars: loss, norm, those of ``_names``."""
        learner = self._learner
        outputs = learner.module.forward_train({DEFAULT_MODULE_ID: batch})[DEFAULT_MODULE_ID]
        loss, metrics = learner.batch_loss(learner.config, batch, outputs)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = learner.take_step([p.grad for p in self._parameters if p.grad is not None])
        self._names[key] = list(metrics)
        return torch.stack([scalar.detach().to(loss.dtype) for scalar in (loss, norm, *metrics.values())])

    def _try_to_capture(self, key: Any, batch: Mapping[str, Tensor]) -> None:
        layout = layout_of(packed_columns(batch))  # kept beside what reads its tensors
        by_number = [group["lr"] for group in self._optimizer.param_groups]
        try:
            for group in self._optimizer.param_groups:
                if group["capturable"]:
                    group["lr"] = self._lr
            replay = self.capture(partial(self._work, batch, key), self._parameters)
        except RuntimeError as error:
            self._optimizer.zero_grad(set_to_none=True)
            logger.warning(
                "This update cannot be captured as a CUDA graph (%s), so all are launched kernel by kernel from here on. A "
                "mixer, encoder or state view that reads a tensor on the host, or copies one to the GPU, prevents it; "
                "training.cuda_graph: off says so from the start.",
                " ".join(str(error).split())[:300],
            )
            self.capture = uncaptured
            replay = uncaptured(partial(self._work, batch, key), self._parameters)
        finally:
            for group, lr in zip(self._optimizer.param_groups, by_number, strict=True):
                group["lr"] = lr
        self.replays[key] = _keeping(replay, layout)

    def _put_learning_rate(self) -> None:
        self._lr.fill_(float(self._optimizer.param_groups[0]["lr"]))

    def _what_is_fixed(self) -> Any:
        """What a captured update reads without looking: where tensors are, and numbers. Loading a state changes them."""
        state = self._optimizer.state
        tensors = [
            *self._parameters,
            *(value for p in self._parameters for value in state.get(p, {}).values() if isinstance(value, Tensor)),
            *(value for value in self._learner.update_counts().values() if isinstance(value, Tensor)),
        ]
        numbers = [
            {name: value for name, value in group.items() if name not in ("params", "lr")}
            for group in self._optimizer.param_groups
        ]
        return [tensor.data_ptr() for tensor in tensors], numbers

    @contextlib.contextmanager
    def _on_side_stream(self) -> Iterator[None]:
        """Work before a capture, on another stream than the usual one, as it will be when captured."""
        if self._aside is None:
            yield
            return
        current = torch.cuda.current_stream(self._aside.device)
        self._aside.wait_stream(current)
        with torch.cuda.stream(self._aside):
            yield
        current.wait_stream(self._aside)


def cuda_graph(work: Callable[[], Tensor], parameters: Sequence[Tensor]) -> Callable[[], Tensor]:
    """``work`` as a CUDA graph. It is recorded and not executed; what this returns executes it."""
    graph = torch.cuda.CUDAGraph()
    # On another GPU than the present one nothing would be recorded. Thread-local: other threads may allocate meanwhile.
    with torch.cuda.device(parameters[0].device), torch.cuda.graph(graph, capture_error_mode="thread_local"):
        result = work()
    gradients = [p.grad for p in parameters]

    def replay() -> Tensor:
        for p, gradient in zip(parameters, gradients):
            p.grad = gradient
        graph.replay()
        return result

    return replay


def uncaptured(work: Callable[[], Tensor], parameters: Sequence[Tensor]) -> Callable[[], Tensor]:
    """``work`` itself, launched kernel by kernel each time."""
    return work


def _keeping(replay: Callable[[], Tensor], *kept: Any) -> Callable[[], Tensor]:
    return lambda: (kept, replay())[1]


def captured_updates(learner: Any) -> CapturedUpdates | None:
    """For a learner that is built: None on the CPU, where a call costs little; with ``cuda_graph`` off; and with several
    learners, whose gradients DDP sums by hooks of its own."""
    config = learner.config
    if learner.device.type != "cuda" or config.cuda_graph == "off" or config.num_learners > 1:
        return None
    return CapturedUpdates(learner, cuda_graph)

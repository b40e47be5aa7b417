"""The packed layout and the GRU on it, against plain loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rllib_reborn.nets import compiled, cpu_gru, onednn
from rllib_reborn.nets.sequence import PackedLayout, gru_sequence

lengths_strategy = st.lists(st.integers(1, 7), min_size=1, max_size=6)


@given(lengths_strategy)
def test_layout_names_every_step_once_and_in_order(lengths):
    horizon = max(lengths) + 1
    layout = PackedLayout.of(torch.tensor(lengths), horizon, torch.device("cpu"))
    observations = [
        (e, t) for e, length in enumerate(lengths) for t in range(length + 1)
    ]  # one episode after the other
    steps = [(e, t) for e, length in enumerate(lengths) for t in range(length)]
    assert sorted(layout.obs_rows.tolist()) == list(range(len(observations)))
    assert sorted(layout.step_rows.tolist()) == list(range(len(steps)))
    assert list(layout.obs_sizes) == sorted(layout.obs_sizes, reverse=True)
    assert sum(layout.obs_sizes) == len(layout.obs_rows)
    packed = [observations[row] for row in layout.obs_rows.tolist()]
    assert [t for _, t in packed] == sorted(t for _, t in packed)  # time-major
    assert [e for e, _ in packed] == layout.obs_episodes.tolist()
    rows = torch.arange(len(layout.obs_rows))  # indexing it takes tensors and slices alike
    now, following = rows[layout.now].tolist(), rows[layout.next].tolist()
    assert len(now) == len(following) == len(steps)
    for i, row in enumerate(layout.step_rows.tolist()):
        episode, t = steps[row]
        assert packed[now[i]] == (episode, t)
        assert packed[following[i]] == (episode, t + 1)
        assert layout.dense_rows[i] == episode * horizon + t


def test_layout_of_two_episodes_by_hand():
    layout = PackedLayout.of(torch.tensor([1, 2]), 3, torch.device("cpu"))
    # Sorted: episode 1 (two steps), then episode 0 (one step).
    assert layout.order.tolist() == [1, 0]
    assert layout.obs_sizes == (2, 2, 1)
    # Observations 0 and 1 are those of episode 0, 2 to 4 those of episode 1.
    assert layout.obs_rows.tolist() == [2, 0, 3, 1, 4]
    assert layout.obs_episodes.tolist() == [1, 0, 1, 0, 1]
    assert layout.step_rows.tolist() == [1, 0, 2]
    assert layout.dense_rows.tolist() == [3, 0, 4]  # of [2, 3] arrays
    assert layout.now.tolist() == [0, 1, 2]
    assert layout.next.tolist() == [2, 3, 4]


@pytest.mark.parametrize("lengths", [[0, 1], [3], []])
def test_layout_refuses_impossible_lengths(lengths):
    with pytest.raises(ValueError, match="episode"):
        PackedLayout.of(torch.tensor(lengths, dtype=torch.int64), 2, torch.device("cpu"))


def _loop(gru: nn.GRU, x: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    cell = nn.GRUCell(gru.input_size, gru.hidden_size, dtype=x.dtype)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        setattr(cell, name, getattr(gru, f"{name}_l0"))
    hidden = x.new_zeros(sizes[0], gru.hidden_size)
    rows, begin = [], 0
    for size in sizes:
        hidden = cell(x[begin : begin + size], hidden[:size])
        rows.append(hidden)
        begin += size
    return torch.cat(rows)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(0, 2**31 - 1))
def test_gru_sequence_equals_a_cell_loop_in_value_and_gradient(sizes, seed):
    sizes = sorted(sizes, reverse=True)
    torch.manual_seed(seed)
    gru = nn.GRU(3, 4, dtype=torch.float64)
    x = torch.randn(sum(sizes), 3, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(sum(sizes), 4, dtype=torch.float64)
    leaves = [x, *gru.parameters()]
    ours, reference = gru_sequence(gru, x, sizes), _loop(gru, x, sizes)
    torch.testing.assert_close(ours, reference, rtol=1e-12, atol=1e-12)
    for mine, wanted in zip(
        torch.autograd.grad((ours * direction).sum(), leaves),
        torch.autograd.grad((reference * direction).sum(), leaves),
    ):
        torch.testing.assert_close(mine, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("library", ["compiled", "onednn", "torch's own"])
@pytest.mark.parametrize(
    "sizes",
    [
        (96,) * 40,  # several blocks of time steps, each a whole number of oneDNN's rows
        (256, 256, 248, 240, 104, 16, 8),
        (4000, 3000, 5),  # a step that is more than a block
        (1030, 13, 13, 5, 1, 1),  # rows that are no whole number of tiles
        tuple(range(300, 0, -1)),  # too many row counts for a kernel each
    ],
)
def test_gru_sequence_over_blocks_equals_a_cell_loop(sizes, library, monkeypatch):
    """In float32, by both libraries, whichever one this CPU would get; the loop, in float64, is the truth."""
    found = onednn.find_operator() if library == "onednn" else None
    if library == "onednn" and found is None:
        pytest.skip("oneDNN is taken on CPUs with AVX-512 alone")
    monkeypatch.setattr(onednn, "operator", found)
    monkeypatch.setattr(compiled, "has_numba", lambda: library == "compiled")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    torch.manual_seed(0)
    gru = nn.GRU(48, 16)
    exact = nn.GRU(48, 16, dtype=torch.float64)
    exact.load_state_dict(gru.state_dict())
    x = torch.randn(sum(sizes), 48, requires_grad=True)
    assert compiled.suits_gru(x, gru.weight_ih_l0, gru.weight_hh_l0) == (library == "compiled")
    exact_x = x.detach().double().requires_grad_()
    direction = torch.randn(sum(sizes), 16)
    with torch.no_grad():
        free = gru_sequence(gru, x, sizes)
    ours, reference = gru_sequence(gru, x, sizes), _loop(exact, exact_x, list(sizes))
    torch.testing.assert_close(ours.double(), reference, rtol=0, atol=2e-6)
    torch.testing.assert_close(free, ours.detach(), rtol=0, atol=2e-6)
    for mine, wanted in zip(
        torch.autograd.grad((ours * direction).sum(), [x, *gru.parameters()]),
        torch.autograd.grad((reference * direction).sum(), [exact_x, *exact.parameters()]),
    ):
        torch.testing.assert_close(mine.double(), wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=20))
def test_blocks_are_all_rows_and_steps_in_order(sizes):
    steps, rows = zip(*cpu_gru._blocks(sizes))
    assert [t for part in steps for t in range(len(sizes))[part]] == list(range(len(sizes)))
    assert [row for part in rows for row in range(part.start, part.stop)] == list(range(sum(sizes)))
    for part_steps, part_rows in zip(steps, rows):
        assert sum(sizes[part_steps]) == part_rows.stop - part_rows.start
        assert part_rows.stop - part_rows.start <= 1024 or part_steps.stop - part_steps.start == 1


def test_steps_of_many_row_counts_are_not_compiled_each(monkeypatch):
    monkeypatch.setattr(onednn, "operator", onednn.find_operator() or object())
    assert cpu_gru._step_sum((256, 248, 8)) is onednn.sum_by_onednn
    assert cpu_gru._step_sum((300, 299, 1)) is not onednn.sum_by_onednn
    monkeypatch.setattr(onednn, "operator", None)
    assert cpu_gru._step_sum((256, 248, 8)) is not onednn.sum_by_onednn


def test_equal_lengths_take_views():
    layout = PackedLayout.of(torch.tensor([2, 2, 2]), 4, torch.device("cpu"))
    assert layout.now == slice(0, 6)
    assert layout.next == slice(3, None)


def test_equal_lengths_share_one_layout():
    device = torch.device("cpu")
    first = PackedLayout.of(torch.tensor([3, 3]), 4, device)
    assert PackedLayout.of(torch.tensor([3, 3]), 4, device) is first
    assert PackedLayout.of(torch.tensor([3, 3]), 3, device) is not first


def test_gru_sequence_passes_gradcheck():
    torch.manual_seed(0)
    gru = nn.GRU(2, 3, dtype=torch.float64)
    x = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: gru_sequence(gru, y, [3, 2, 1]), (x,))


def test_gru_without_gradient_equals_gru_with():
    gru = nn.GRU(5, 8)
    x = torch.randn(12, 5)
    with torch.no_grad():
        free = gru_sequence(gru, x, [4, 4, 3, 1])
    torch.testing.assert_close(free, gru_sequence(gru, x, [4, 4, 3, 1]).detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.cuda
def test_gru_on_cuda_equals_cpu(no_gpu_skip, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # as learners have it
    gru = nn.GRU(5, 8)
    x = torch.randn(12, 5)
    expected = gru_sequence(gru, x, [4, 4, 3, 1])
    torch.testing.assert_close(gru_sequence(gru.cuda(), x.cuda(), [4, 4, 3, 1]).cpu(), expected, rtol=1e-4, atol=1e-5)

"""When the compiled kernels are taken, and what goes through them that is no number."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from rllib_reborn.nets import compiled, dense
from rllib_reborn.nets.sequence import gru_sequence

pytest.importorskip("numba")
pytestmark = pytest.mark.usefixtures("kernels_are_taken")

SIZES = (300, 300, 299, 200, 1)


def _gru_and_input():
    torch.manual_seed(0)
    return nn.GRU(32, 16), torch.randn(sum(SIZES), 32)


def test_large_inputs_of_one_thread_are_taken():
    gru, x = _gru_and_input()
    assert compiled.suits_gru(x, gru.weight_ih_l0, gru.weight_hh_l0)
    assert not compiled.suits_gru(x[:1023], gru.weight_ih_l0, gru.weight_hh_l0)
    assert not compiled.suits_gru(x.double(), gru.weight_ih_l0.double(), gru.weight_hh_l0.double())
    assert not compiled.suits_gru(x[:, :30], gru.weight_ih_l0[:, :30], gru.weight_hh_l0)
    assert not compiled.suits_gru(x, torch.zeros(24, 32), torch.zeros(24, 8))
    assert compiled.suits_linear(x[:, :30], torch.zeros(16, 30))
    assert not compiled.suits_linear(x, torch.zeros(6, 32))
    torch.set_num_threads(2)
    assert not compiled.suits_gru(x, gru.weight_ih_l0, gru.weight_hh_l0)


def test_shapes_that_do_not_fit_are_refused():
    gru, x = _gru_and_input()
    with pytest.raises(RuntimeError, match="shapes"):
        gru_sequence(gru, torch.zeros(len(x), 48), SIZES)
    with pytest.raises(ValueError, match="1100"):
        gru_sequence(gru, x[:1050], SIZES)


def test_widths_are_multiples_of_a_tile():
    from rllib_reborn.nets import kernels

    assert compiled._COLUMNS == kernels.COLUMNS


def test_without_numba_torch_does_it(monkeypatch):
    gru, x = _gru_and_input()
    expected = gru_sequence(gru, x, SIZES)
    monkeypatch.setattr(compiled, "has_numba", lambda: False)
    monkeypatch.setattr(compiled, "gru", None)
    torch.testing.assert_close(gru_sequence(gru, x, SIZES), expected, rtol=1e-5, atol=1e-6)


def test_equal_inputs_give_equal_bits():
    gru, x = _gru_and_input()
    runs = []
    for _ in range(2):
        x_now = x.clone().requires_grad_()
        out = gru_sequence(gru, x_now, SIZES)
        runs.append([out, *torch.autograd.grad(out.square().sum(), [x_now, *gru.parameters()])])
    for first, second in zip(*runs):
        assert torch.equal(first, second)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf"), 1e30, -1e30])
def test_what_is_not_finite_is_not_hidden(number):
    """The learner skips a step whose gradient is not finite, so it must see it as torch would show it."""
    gru, x = _gru_and_input()
    x[400, 3] = number  # the second step of the 101st sequence
    ours, theirs = gru_sequence(gru, x, SIZES), gru(x[:1])[0]
    assert theirs.isfinite().all()
    cell = nn.GRUCell(32, 16)
    cell.load_state_dict({name.removesuffix("_l0"): weight for name, weight in gru.state_dict().items()})
    second = cell(x[400:401], cell(x[100:101]))
    torch.testing.assert_close(ours[400:401], second, rtol=1e-5, atol=1e-6, equal_nan=True)
    assert ours[:400].isfinite().all()


def test_gates_that_are_shut_or_open_are_exact():
    gru, x = _gru_and_input()
    with torch.no_grad():
        for parameter in gru.parameters():
            parameter.zero_()
        gru.bias_ih_l0[16:32] = 200.0  # z = 1: nothing new is taken in
    assert torch.equal(gru_sequence(gru, x, SIZES), torch.zeros(len(x), 16))
    with torch.no_grad():
        gru.bias_ih_l0[16:32] = -200.0  # z = 0
        gru.bias_ih_l0[32:] = 50.0  # n = 1
    torch.testing.assert_close(gru_sequence(gru, x, SIZES), torch.ones(len(x), 16), rtol=0, atol=1e-6)


def test_a_gradient_of_the_gradient_is_refused_and_not_wrong():
    gru, x = _gru_and_input()
    x.requires_grad_()
    [grad] = torch.autograd.grad(gru_sequence(gru, x, SIZES).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.square().sum().backward()


def test_a_part_of_the_output_and_frozen_weights():
    gru, x = _gru_and_input()
    gru.weight_ih_l0.requires_grad_(False)
    gru_sequence(gru, x, SIZES)[:300].sum().backward()
    assert gru.weight_ih_l0.grad is None
    assert not gru.weight_hh_l0.grad.any()  # the first step's state is zero
    assert gru.bias_hh_l0.grad.any()


def test_rows_do_not_depend_on_those_beside_them():
    layer = dense.Linear(30, 48)
    x = torch.randn(2100, 30)
    with torch.no_grad():
        whole = layer(x)
        for rows in (1024, 1500, 2047):
            assert torch.equal(layer(x[:rows]), whole[:rows])


def test_where_nothing_can_be_kept_every_process_compiles(tmp_path):
    """As in a container whose user can write neither beside the source file nor at home."""
    module = tmp_path / "kept_nowhere.py"
    module.write_text(
        "import numba\n"
        "from rllib_reborn.compiled_functions import compiled\n"
        "def twice(x):\n    return 2 * x\n"
        "try:\n    numba.njit(cache=True)(twice)\n"
        "except RuntimeError:\n    assert compiled()(twice)(3) == 6\n"
        "else:\n    raise SystemExit('something could be kept')\n"
    )
    program = (
        "from numba.core import caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        f"exec(compile(open({str(module)!r}).read(), {str(module)!r}, 'exec'), {{'__name__': 'kept_nowhere'}})\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_a_linear_and_its_relu_are_one_with_the_same_bits_unless_somebody_looks(monkeypatch):
    torch.manual_seed(0)
    net = dense.DenseStack(dense.Linear(30, 48), nn.ReLU(), dense.Linear(48, 6), nn.ReLU(), dense.Linear(6, 16))
    x = torch.randn(1100, 30, requires_grad=True)
    together = []
    linear = compiled.linear
    monkeypatch.setattr(
        compiled, "linear", lambda *given, relu=False: together.append(relu) or linear(*given, relu=relu)
    )

    def values_and_gradients():
        out = net(x)
        return [out, *torch.autograd.grad(out.square().sum(), [x, *net.parameters()])]

    as_one = values_and_gradients()
    assert together == [True, False]  # a width of 6 is torch's
    outputs = []
    for layer in (net[1], net[3]):
        layer.register_forward_hook(lambda _, __, out: outputs.append(out))
    apart = values_and_gradients()
    assert together == [True, False, False, False]
    assert [out.shape[1] for out in outputs] == [48, 6]
    assert all(torch.equal(one, other) for one, other in zip(as_one, apart, strict=True))


def test_a_module_that_stands_in_two_places_is_called_in_both():
    torch.manual_seed(0)
    relu = nn.ReLU()
    net = dense.DenseStack(dense.Linear(30, 48), relu, dense.Linear(48, 32), relu)
    out = net(torch.randn(1100, 30))
    assert out.min() == 0
    assert out.any()


def test_numba_that_is_switched_off_counts_as_not_installed():
    program = (
        "from rllib_reborn.compiled_functions import has_numba\n"
        "assert not has_numba()\n"
        "from rllib_reborn.envs.registry import make_team_env\n"
        "make_team_env('battle/3m', num_envs=2).reset(seed=1)\n"
    )
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=120)


def test_a_relu_hides_nothing_that_is_not_a_number():
    net = dense.DenseStack(dense.Linear(30, 48), nn.ReLU())
    x = torch.randn(1100, 30)
    x[5, 3] = float("nan")
    assert net(x)[5].isnan().all()
    assert net(x)[6].isfinite().all()


def test_what_was_compiled_before_a_source_was_written_is_not_used(tmp_path):
    """numba looks at the file of a function alone, not at those of what it calls. Times of files say nothing: copies keep
    them."""
    inner, outer = tmp_path / "inner_source.py", tmp_path / "outer_function.py"
    outer.write_text(
        "import inner_source\n"
        "from rllib_reborn.compiled_functions import compiled\n"
        "@compiled(sources=[inner_source])\n"
        "def answer(x):\n    return inner_source.scaled(x) + 1\n"
        "print(answer(10), sum(answer.stats.cache_hits.values()))\n"
    )
    answers = []
    for factor in (2, 2, 3, 3):
        text = (
            "from rllib_reborn.compiled_functions import compiled\n"
            f"@compiled()\ndef scaled(x):\n    return {factor} * x\n"
        )
        if not inner.exists() or inner.read_text() != text:
            inner.write_text(text)
            os.utime(inner, (1_000_000_000 + factor, 1_000_000_000 + factor))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
        done = subprocess.run(
            [sys.executable, str(outer)], capture_output=True, text=True, env=environment, timeout=120
        )
        assert done.returncode == 0, done.stderr
        answers.append(done.stdout.split())
    assert answers == [["21", "0"], ["21", "1"], ["31", "0"], ["31", "1"]]

"""Products of many rows against torch's own, in value, gradient and the layouts that oneDNN is bad at."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from rllib_reborn.nets import compiled, dense, onednn

ROWS = st.one_of(st.integers(1, 700), st.sampled_from([2047, 2048, 2049, 2496, 4096, 5000]))


@pytest.fixture(params=["compiled", "onednn", "torch's own"], scope="module", autouse=True)
def library(request):
    """All, whichever one this machine would get."""
    found = onednn.find_operator()
    if request.param == "onednn" and found is None:
        pytest.skip("oneDNN is taken on CPUs with AVX-512 alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onednn, "operator", found if request.param == "onednn" else None)
        patch.setattr(compiled, "has_numba", lambda: request.param == "compiled")
        patch.setattr(torch, "get_num_threads", lambda: 1)
        yield request.param


def test_the_operator_is_there_where_the_cpu_is():
    """The one private name of torch that speed rests on; without it everything works, at MKL's speed."""
    wanted = torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    assert (onednn.find_operator() is not None) == wanted


@pytest.mark.parametrize(
    ("cpuinfo", "wide"),
    [
        ("vendor_id\t: AuthenticAMD\ncpu family\t: 26\n", True),  # Zen 5
        ("vendor_id\t: AuthenticAMD\ncpu family\t: 25\n", False),  # Zen 4 and older
        ("vendor_id\t: GenuineIntel\ncpu family\t: 26\n", False),
        ("vendor_id\t: AuthenticAMD\n", False),
        (None, False),
    ],
)
def test_vendor_and_family_decide(cpuinfo, wide, tmp_path):
    path = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        path.write_text(cpuinfo)
    assert onednn.is_wide_amd(path) == wide


@settings(deadline=None, max_examples=40)
@given(rows=ROWS, k=st.integers(1, 40), width=st.integers(1, 40), bias=st.booleans())
def test_product_and_weight_gradient_equal_float64(rows, k, width, bias):
    generator = torch.Generator().manual_seed(rows)
    x, weight, b, grad = (
        torch.randn(size, generator=generator) for size in ((rows, k), (width, k), (width,), (rows, width))
    )
    expected = x.double() @ weight.double().T + (b.double() if bias else 0)
    torch.testing.assert_close(
        onednn.product(x, weight, b if bias else None).double(), expected, rtol=0, atol=1e-5 * math.sqrt(k)
    )
    by_weight = onednn.weight_gradient(grad, x)
    # Each of ``rows`` additions rounds a partial sum by 2**-24 of it; partial sums are a few times sqrt(rows), and so is the
    # number of roundings that do not cancel. 1e-5 * sqrt(rows) was too tight: 7.6e-4 was found at 5,000 rows.
    torch.testing.assert_close(by_weight.double(), grad.double().T @ x.double(), rtol=0, atol=10 * 2**-24 * rows)


@pytest.mark.parametrize("rows", [511, 512, 800, 1023, 1024, 2100])
@pytest.mark.parametrize(("depth", "width"), [(30, 20), (30, 48), (64, 16)])
def test_linear_equals_torch_in_value_and_gradient(rows, depth, width):
    torch.manual_seed(0)
    ours, theirs = dense.Linear(depth, width), nn.Linear(depth, width)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(rows, depth, requires_grad=True)
    direction = torch.randn(rows, width)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    for mine, wanted in zip(
        torch.autograd.grad((ours(x) * direction).sum(), [x, *ours.parameters()]),
        torch.autograd.grad((theirs(x) * direction).sum(), [x, *theirs.parameters()]),
    ):
        torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fixed", ["weight", "bias"])
def test_only_the_gradients_asked_for_are_made(fixed):
    layer = dense.Linear(8, 16)
    getattr(layer, fixed).requires_grad_(False)
    layer(torch.randn(1100, 8)).sum().backward()
    asked = {"weight": layer.bias, "bias": layer.weight}[fixed]
    assert asked.grad is not None
    assert getattr(layer, fixed).grad is None


@pytest.mark.parametrize("change", ["transposed input", "column slice", "transposed weight", "expanded gradient"])
def test_any_layout_of_memory_gives_the_same(change):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(1200, 30), torch.randn(32, 30), torch.randn(32)
    if change == "transposed input":
        x = torch.randn(30, 1200).t()
    elif change == "column slice":
        x = torch.randn(1200, 50)[:, 10:40]
    elif change == "transposed weight":
        weight = torch.randn(30, 32).t()
    x.requires_grad_()
    out, expected = dense.linear(x, weight, bias), functional.linear(x, weight, bias)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    total = out.sum() if change == "expanded gradient" else out.square().sum()
    wanted = expected.sum() if change == "expanded gradient" else expected.square().sum()
    torch.testing.assert_close(
        torch.autograd.grad(total, x)[0], torch.autograd.grad(wanted, x)[0], rtol=1e-4, atol=1e-3
    )


def test_other_dtypes_and_shapes_are_left_to_torch():
    layer = dense.Linear(8, 4)
    assert layer(torch.randn(8)).shape == (4,)
    assert layer(torch.randn(300, 3, 8)).shape == (300, 3, 4)
    assert layer.double()(torch.randn(600, 8, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("rest", [onednn.REST, onednn.SUM_REST])
def test_pieces_are_all_rows_once_and_of_few_sizes(rest):
    """A kernel is compiled for every size that oneDNN gets, and only the last 1,024 of all layers are kept."""
    sizes = set()
    for rows in [*range(1, 9000), 51_456, 100_001]:
        pieces = list(onednn.pieces_of(rows, rest))
        assert [piece.start for piece, _ in pieces] == [0, *(piece.stop for piece, _ in pieces[:-1])]
        assert pieces[-1][0].stop == rows
        sizes |= {piece.stop - piece.start for piece, of_onednn in pieces if of_onednn}
    assert len(sizes) <= 64


def test_a_rows_values_do_not_depend_on_the_rows_beside_it():
    """So that a trajectory does not depend on how many envs are stepped together (from three rows on)."""
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2100, 75), torch.randn(64, 75), torch.randn(64)
    whole = onednn.product(x, weight, bias)
    for rows in (32, 96, 512, 2048):
        torch.testing.assert_close(onednn.product(x[:rows], weight, bias), whole[:rows], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bias", [torch.randn(32)[::2], torch.randn(1).expand(16)], ids=["strided", "expanded"])
def test_a_bias_of_any_layout_is_read_right(bias):
    x, weight = torch.randn(1024, 9), torch.randn(16, 9)
    torch.testing.assert_close(dense.linear(x, weight, bias), functional.linear(x, weight, bias), rtol=1e-5, atol=1e-5)


def test_what_torch_refuses_is_refused_in_torchs_words():
    with pytest.raises(RuntimeError, match=r"shapes cannot be multiplied|size mismatch"):
        dense.linear(torch.randn(1100, 9), torch.randn(16, 7), None)
    assert dense.linear(torch.randn(1100, 0), torch.randn(16, 0), torch.zeros(16)).shape == (1100, 16)


def test_autocast_is_obeyed():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert dense.Linear(8, 16)(torch.randn(1100, 8)).dtype == torch.bfloat16


def test_a_gradient_of_the_gradient_is_refused_and_not_wrong(library):
    if library == "torch's own":
        pytest.skip("torch's own product has second gradients")
    x = torch.randn(1100, 8, requires_grad=True)
    [grad] = torch.autograd.grad(dense.Linear(8, 16)(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.square().sum().backward()

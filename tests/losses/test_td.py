"""TD targets against numbers worked by hand and against a plain definition."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_reborn.losses import masked_mean, td_lambda_targets, td_targets

REWARD = torch.tensor([[1.0, 2.0, 4.0]])
NEXT = torch.tensor([[10.0, 20.0, 30.0]])
END = torch.tensor([[False, False, True]])
CUT = torch.zeros(1, 3, dtype=torch.bool)
ALL = torch.ones(1, 3)


def test_one_step_by_hand():
    assert td_targets(REWARD, NEXT, END, ALL, gamma=0.5).tolist() == [[6.0, 12.0, 4.0]]


def test_truncation_bootstraps_where_termination_does_not():
    assert td_targets(REWARD, NEXT, CUT, ALL, gamma=0.5).tolist() == [[6.0, 12.0, 19.0]]


def test_two_step_by_hand():
    # 1 + 0.5*2 + 0.25*20; 2 + 0.5*4 (terminated); 4
    assert td_targets(REWARD, NEXT, END, ALL, gamma=0.5, n_step=2).tolist() == [[7.0, 4.0, 4.0]]


def test_td_lambda_by_hand():
    # lambda 0.5: y2 = 4; y1 = 2 + 0.5*(0.5*20 + 0.5*4) = 8; y0 = 1 + 0.5*(0.5*10 + 0.5*8) = 5.5
    assert td_lambda_targets(REWARD, NEXT, END, ALL, gamma=0.5, td_lambda=0.5).tolist() == [[5.5, 8.0, 4.0]]


def test_masked_mean_by_hand():
    assert masked_mean(torch.tensor([1.0, 2.0, 100.0]), torch.tensor([1.0, 1.0, 0.0]), 2.0).item() == 1.5


def _n_step(reward, following, ended, length, gamma, n):
    out = []
    for t in range(length):
        m = min(n, length - t)
        total = sum(gamma**k * reward[t + k] for k in range(m))
        out.append(total + gamma**m * (0.0 if ended and t + m == length else following[t + m - 1]))
    return out


def _td_lambda(reward, following, ended, length, gamma, lam):
    """The forward view: a weighted sum of n-step returns."""
    out = []
    for t in range(length):
        left = length - t
        returns = [_n_step(reward, following, ended, length, gamma, n)[t] for n in range(1, left + 1)]
        out.append((1 - lam) * sum(lam**k * returns[k] for k in range(left - 1)) + lam ** (left - 1) * returns[-1])
    return out


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=4),
    st.integers(1, 7),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(0, 10**6),
)
def test_targets_equal_their_definitions_and_ignore_padding(episodes, n, gamma, lam, seed):
    generator = torch.Generator().manual_seed(seed)
    horizon = max(length for length, _ in episodes)
    reward = torch.randn(len(episodes), horizon, generator=generator, dtype=torch.float64)
    following = torch.randn(len(episodes), horizon, generator=generator, dtype=torch.float64)
    mask = torch.zeros(len(episodes), horizon, dtype=torch.float64)
    terminated = torch.zeros(len(episodes), horizon, dtype=torch.bool)
    for e, (length, ended) in enumerate(episodes):
        mask[e, :length] = 1
        terminated[e, length - 1] = ended
        reward[e, length:] = following[e, length:] = 1e6  # must not be read
    by_n = td_targets(reward, following, terminated, mask, gamma=gamma, n_step=n)
    by_lambda = td_lambda_targets(reward, following, terminated, mask, gamma=gamma, td_lambda=lam)
    for e, (length, ended) in enumerate(episodes):
        args = (reward[e].tolist(), following[e].tolist(), ended, length, gamma)
        torch.testing.assert_close(
            by_n[e, :length], torch.tensor(_n_step(*args, n), dtype=torch.float64), rtol=1e-9, atol=1e-9
        )
        torch.testing.assert_close(
            by_lambda[e, :length], torch.tensor(_td_lambda(*args, lam), dtype=torch.float64), rtol=1e-9, atol=1e-9
        )


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="n_step is 0"):
        td_targets(REWARD, NEXT, END, ALL, gamma=0.5, n_step=0)
    with pytest.raises(ValueError, match=r"td_lambda is 1\.5"):
        td_lambda_targets(REWARD, NEXT, END, ALL, gamma=0.5, td_lambda=1.5)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllib_reborn.replay.reward_scaling import RewardScaler


def test_plain_rewards_pass_untouched():
    reward = np.array([1.0, -2.0], np.float32)
    assert RewardScaler()(reward) is reward


def test_scale_by_hand():
    assert RewardScaler(scale=0.5)(np.array([4.0], np.float32)).tolist() == [2.0]


@given(st.lists(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=9), min_size=1, max_size=6))
def test_the_running_deviation_is_that_of_all_rewards(parts):
    scaler = RewardScaler(standardise=True)
    for part in parts:
        scaler.observe(np.array(part, np.float32))
    everything = np.concatenate([np.array(part, np.float32) for part in parts]).astype(np.float64)
    if len(everything) > 1 and everything.std() > 1e-3:
        assert scaler.deviation == pytest.approx(everything.std(), rel=1e-6)


def test_state_round_trip():
    scaler = RewardScaler(standardise=True)
    scaler.observe(np.array([1.0, 5.0], np.float32))
    again = RewardScaler(standardise=True)
    again.set_state(scaler.get_state())
    assert again.deviation == scaler.deviation == 2.0

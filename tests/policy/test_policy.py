"""Acting: one team and batches, states, and a sentence for each fault."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rllib_reborn
from rllib_reborn.envs import make_team_env
from rllib_reborn.policy import Policy, PolicyError, PolicySpec, PolicyState
from tests.docs_code import DOCS, python_blocks
from tests.policy.teams import ENV, exported

B = 6


@pytest.fixture(scope="module", params=[{}, {"recurrent": False}, {"parameter_sharing": "none"}], ids=str)
def policy(request: pytest.FixtureRequest) -> Policy:
    return exported(**request.param)


def inputs(policy: Policy, steps: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Observations and masks of B games that depend on nothing."""
    rng = np.random.default_rng(seed)
    spec = policy.spec
    found = []
    for _ in range(steps):
        mask = rng.random((B, spec.n_agents, spec.n_actions)) < 0.5
        mask[..., 1] = True
        found.append((rng.standard_normal((B, spec.n_agents, spec.obs_dim)).astype(np.float32), mask))
    return found


def test_a_batch_is_its_teams_one_by_one(policy: Policy) -> None:
    state, alone = None, [None] * B
    for obs, mask in inputs(policy, 12):
        values = policy.values(obs, state)
        actions, state = policy.act(obs, mask, state)
        assert actions.shape == (B, policy.spec.n_agents)
        assert actions.dtype == np.int64
        for game in range(B):
            np.testing.assert_allclose(policy.values(obs[game], alone[game]), values[game], rtol=1e-4, atol=1e-4)
            own, alone[game] = policy.act(obs[game], mask[game], alone[game])
            assert own.shape == (policy.spec.n_agents,)
            np.testing.assert_array_equal(own, actions[game])
            torch.testing.assert_close(alone[game].hidden, state.hidden[game], rtol=1e-4, atol=1e-4)


def test_actions_are_the_best_allowed_ones(policy: Policy) -> None:
    for obs, mask in inputs(policy, 5):
        actions, _ = policy.act(obs, mask)
        assert np.take_along_axis(mask, actions[..., None], -1).all()
        best = np.where(mask, policy.values(obs), -np.inf).argmax(-1)
        np.testing.assert_array_equal(actions, best)
    everything = np.ones_like(mask)
    assert (policy.act(obs, everything)[0] != actions).any()  # the mask did forbid something


def test_the_state_matters_and_is_never_changed(policy: Policy) -> None:
    steps = inputs(policy, 4)
    _, state = policy.act(*steps[0])
    _, state = policy.act(*steps[1], state)
    hidden, last = state.hidden.clone(), state.last_actions.clone()
    actions, after = policy.act(*steps[2], state)
    assert torch.equal(state.hidden, hidden)
    assert torch.equal(state.last_actions, last)
    np.testing.assert_array_equal(after.last_actions, actions)
    actions[:] = 0  # what the caller does with its array is nothing to the state
    assert after.last_actions.any()
    assert (policy.values(steps[3][0], after) != policy.values(steps[3][0])).any()


def test_reset_begins_an_episode_in_some_games(policy: Policy) -> None:
    steps = inputs(policy, 3)
    _, state = policy.act(*steps[0])
    actions, state = policy.act(*steps[1], state)
    done = np.array([True, False, False, True, False, True])
    for mask in (done, torch.from_numpy(done), done.tolist()):
        fresh = state.reset(mask)
        obs = steps[2][0]
        np.testing.assert_array_equal(policy.values(obs, fresh)[done], policy.values(obs)[done])
        np.testing.assert_array_equal(policy.values(obs, fresh)[~done], policy.values(obs, state)[~done])
    np.testing.assert_array_equal(state.last_actions, actions)  # the old state is as it was
    assert (policy.values(obs, state)[done] != policy.values(obs)[done]).any()


def test_actions_that_were_done_instead(policy: Policy) -> None:
    (first, mask), (second, _) = inputs(policy, 2)
    actions, state = policy.act(first, mask)
    np.testing.assert_array_equal(policy.values(second, state.with_actions(actions)), policy.values(second, state))
    other = state.with_actions((actions + 1) % policy.spec.n_actions)
    assert (policy.values(second, other) != policy.values(second, state)).any()


@pytest.mark.filterwarnings("error")  # torch warns of arrays that cannot be written to
def test_other_kinds_of_arrays(policy: Policy) -> None:
    (obs, mask), *_ = inputs(policy, 1)
    obs = obs.round()
    expected, _ = policy.act(obs, mask)
    locked = obs.copy()
    locked.flags.writeable = False
    for other_obs in (obs.astype(np.float64), obs.astype(np.int8), torch.from_numpy(obs), obs.tolist(), locked):
        for other_mask in (mask, mask.astype(np.int8), mask.astype(np.float32), torch.from_numpy(mask), mask.tolist()):
            np.testing.assert_array_equal(policy.act(other_obs, other_mask)[0], expected)


def test_gradients_are_none_of_its_business() -> None:
    policy = exported()
    (obs, mask), *_ = inputs(policy, 1)
    _, state = policy.act(torch.from_numpy(obs).requires_grad_(), mask)
    assert not state.hidden.requires_grad
    assert not any(parameter.requires_grad for parameter in policy._team.parameters())


class TestFaults:
    def refuses(self, words: str, *arguments: Any) -> None:
        with pytest.raises(ValueError, match=re.escape(words)) as caught:
            self.policy.act(*arguments)
        assert "\n" not in str(caught.value)

    def test_each_in_a_sentence(self) -> None:
        self.policy = policy = exported()
        n, a, d = policy.spec.n_agents, policy.spec.n_actions, policy.spec.obs_dim
        (obs, mask), *_ = inputs(policy, 1)
        _, state = policy.act(obs, mask)
        _, single = policy.act(obs[0], mask[0])

        self.refuses(f"obs has shape ({B}, {n}, {d - 1}); expected ({n}, {d})", obs[..., 1:], mask)
        self.refuses(f"obs has shape ({d},); expected", obs[0, 0], mask)
        self.refuses(f"obs has shape (0, {n}, {d}); expected", obs[:0], mask[:0])
        self.refuses("obs is no array of numbers", [[1.0], [2.0, 3.0]], mask)
        self.refuses("obs is no array of numbers", None, mask)
        self.refuses("obs has dtype torch.complex64; expected real", obs.astype(np.complex64), mask)
        broken = obs.copy()
        broken[4, 1, 2] = np.nan
        self.refuses("in game 4 has nan at 2", broken, mask)
        self.refuses(f"obs of agent '{policy.spec.agent_ids[1]}' has nan at 2; expected finite", broken[4], mask[4])
        broken[4, 1, 2] = np.inf
        self.refuses("has inf at 2", broken, mask)

        self.refuses(f"action_mask has shape ({n}, {a}); expected ({B}, {n}, {a})", obs, mask[0])
        self.refuses(f"action_mask has shape ({B}, {n}, {a}); expected ({n}, {a})", obs[0], mask)
        self.refuses("action_mask holds other values than 0 and 1", obs, mask * 2)
        nobody = mask.copy()
        nobody[3, 2] = False
        self.refuses(f"action_mask allows agent '{policy.spec.agent_ids[2]}' in game 3 no action", obs, nobody)
        self.refuses(f"action_mask allows agent '{policy.spec.agent_ids[2]}' no action", obs[3], nobody[3])

        self.refuses("expected (6, ", obs, mask, single)
        self.refuses(f"state has hidden of shape ({B}, {n}, 16)", obs[0], mask[0], state)
        self.refuses("state is a tuple; expected what the call of act() before gave", obs, mask, (1, 2))
        self.refuses("state has last_actions from", obs, mask, state.with_actions(state.last_actions + a))
        cut = PolicyState(hidden=state.hidden, last_actions=state.last_actions[:2])
        self.refuses("last_actions of shape (2, ", obs, mask, cut)

        with pytest.raises(ValueError, match="begin its episode with state=None"):
            single.reset([True])
        with pytest.raises(ValueError, match=r"mask has shape \(2,\) and dtype torch.bool; expected \(6,\)"):
            state.reset([True, False])
        with pytest.raises(ValueError, match=r"dtype torch\.int64; expected"):
            state.reset([1] * B)
        with pytest.raises(ValueError, match="actions have shape"):
            state.with_actions([0] * n)
        with pytest.raises(ValueError, match="whole numbers"):
            state.with_actions(np.zeros((B, n)))

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"n_agents": 0}, "n_agents is 0; expected a whole number of at least 1"),
            ({"hidden_dim": True}, "hidden_dim is True"),
            ({"recurrent": 1}, "recurrent is 1; expected true or false"),
            ({"agent_ids": ("a",)}, "agent_ids is ('a',); expected one entry for each of the 2 agents"),
            ({"agent_ids": (1, 2)}, "agent_ids is (1, 2); expected texts"),
            ({"net_of_agent": (0, 2)}, "net_of_agent is (0, 2); every number from 0"),
            ({"env": 3}, "env is 3; expected a text"),
            ({"env_config": []}, "env_config is []; expected a dict"),
        ],
    )
    def test_settings(self, change: dict[str, Any], words: str) -> None:
        good: dict[str, Any] = {
            **dict.fromkeys(("n_agents", "n_actions", "obs_dim", "hidden_dim", "fc_layers"), 2),
            **dict.fromkeys(("recurrent", "last_action", "agent_id"), True),
            "net_of_agent": (0, 0),
            "agent_ids": ("a", "b"),
            "agent_groups": ("x", "x"),
        }
        PolicySpec(**good)
        with pytest.raises(PolicyError, match=re.escape(words)):
            PolicySpec(**(good | change))

    def test_weights_of_other_settings(self) -> None:
        policy = exported()
        weights = policy.weights()
        name = "nets.0.head.bias"
        for changed, words in (
            ({k: v for k, v in weights.items() if k != name}, f"weight '{name}' is missing"),
            (weights | {"more": weights[name]}, "weight 'more' is unknown"),
            (weights | {name: weights[name][1:]}, f"weight '{name}' has shape"),
            (weights | {name: weights[name].astype(np.float64)}, "has dtype float64; expected float32"),
            (weights | {name: weights[name] * np.inf}, f"weight '{name}' is not finite"),
        ):
            with pytest.raises(PolicyError, match=re.escape(words)):
                Policy(policy.spec, changed)


def test_the_loop_of_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands in docs/portable_policy.md: the team acts on what the games show now, and remembers its own last actions,
    but nothing of an episode that is over."""
    [block] = [one for one in python_blocks(DOCS / "portable_policy.md") if "policy.act" in one.code]
    assert f'"{ENV}"' in block.code
    exported().save(tmp_path / "my_policy")
    monkeypatch.chdir(tmp_path)
    env = make_team_env(ENV, num_envs=2)
    shown: list[np.ndarray] = []
    over: list[np.ndarray] = [np.ones(2, bool)]
    acted: list[np.ndarray] = []

    class Watched:
        def reset(self, **arguments: Any) -> Any:
            obs = env.reset(**arguments)
            shown.append(obs.obs.copy())
            return obs

        def step(self, actions: Any) -> Any:
            np.testing.assert_array_equal(actions, acted[-1])
            step = env.step(actions)
            shown.append(step.obs.obs.copy())
            over.append(step.terminated | step.truncated)
            return step

    def act(self: Policy, obs: Any, action_mask: Any, state: PolicyState | None) -> tuple[np.ndarray, PolicyState]:
        np.testing.assert_array_equal(obs, shown[-1])
        if state is None:
            assert not acted
        else:
            np.testing.assert_array_equal(state.last_actions, np.where(over[-1][:, None], -1, acted[-1]))
            assert not state.hidden[torch.as_tensor(over[-1])].any()
        actions, after = original(self, obs, action_mask, state)
        acted.append(actions.copy())
        return actions, after

    original = Policy.act
    monkeypatch.setattr(Policy, "act", act)
    monkeypatch.setattr(rllib_reborn, "make_team_env", lambda *_, **__: Watched(), raising=False)
    limit = env.spec.episode_limit
    exec(block.code.replace("1_000", str(2 * limit + 2)), {})
    assert len(acted) == 2 * limit + 2
    assert sum(done.any() for done in over) >= 3

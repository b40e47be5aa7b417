"""Order of joint actions, IGM and drift: by hand, on untouched, re-drawn and broken mixers."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rllib_reborn.nets.agents import AgentTeam
from rllib_reborn.nets.mixers import QMixer
from rllib_reborn.plasticity.invariance import (
    agents_identical,
    chosen_values,
    function_drift,
    greedy_actions,
    greedy_pairs,
    igm_holds,
    joint_action_count,
    order_flips,
    q_drift,
    strict_preference,
    unilateral_pairs,
)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_mask(rows: int, n: int, actions: int, seed: int) -> Tensor:
    """[rows, n, A] bool, at least one True for each agent."""
    draws = generator(seed)
    mask = torch.rand(rows, n, actions, generator=draws) < 0.6
    sure = torch.randint(actions, (rows, n, 1), generator=draws)
    return mask.scatter(2, sure, True)


class RandomTeam:
    """Untrained agents and a mixer on random inputs, in float64."""

    def __init__(self, seed: int, *, rows: int = 300, n: int = 3, actions: int = 4) -> None:
        torch.manual_seed(seed)
        self.x, self.state = torch.randn(rows, n, 6).double(), torch.randn(rows, 5).double()
        self.agents = AgentTeam((0,) * n, 6, actions, hidden_dim=8).double()
        self.mixer = QMixer(n, 5, embed_dim=6, hypernet_dim=7).double()
        self.mask = random_mask(rows, n, actions, seed)
        self.rows = rows

    @torch.no_grad()
    def q(self, agents: AgentTeam | None = None) -> Tensor:
        hidden = torch.zeros(self.rows, self.x.shape[1], 8).double()
        return (agents or self.agents).step(self.x, hidden)[0]

    @torch.no_grad()
    def pair_values(self, pairs, mixer: nn.Module, q: Tensor) -> tuple[Tensor, Tensor]:
        q, state = q[pairs.rows], self.state[pairs.rows]
        return mixer(chosen_values(q, pairs.u), state), mixer(chosen_values(q, pairs.v), state)


class SignedMixer(nn.Module):
    """NOT monotonic: the second agent's value counts against the team."""

    def forward(self, q: Tensor, state: Tensor) -> Tensor:
        return q[:, 0] - q[:, 1] + q[:, 2:].sum(1)


class TestPairs:
    @given(seed=st.integers(0, 10_000), n=st.integers(1, 5), actions=st.integers(2, 10))
    @settings(max_examples=40, deadline=None)
    def test_pairs_are_legal_and_differ_in_one_agent(self, seed: int, n: int, actions: int) -> None:
        mask = random_mask(50, n, actions, seed)
        q = torch.randn(50, n, actions, generator=generator(seed))
        choice = (mask.sum(-1) > 1).any(-1)
        for pairs in (unilateral_pairs(mask, generator(seed)), greedy_pairs(q, mask, generator(seed))):
            assert pairs.rows.tolist() == choice.nonzero().flatten().tolist()
            assert ((pairs.u != pairs.v).sum(1) == 1).all()
            for joint in (pairs.u, pairs.v):
                assert mask[pairs.rows].gather(2, joint.unsqueeze(2)).all()

    def test_the_greedy_pairs_begin_with_the_best_legal_actions(self) -> None:
        q = torch.tensor([[[5.0, 1.0, 2.0], [0.0, 3.0, -1.0]]])
        mask = torch.tensor([[[False, True, True], [True, False, True]]])
        assert greedy_actions(q, mask).tolist() == [[2, 0]]  # 5 and 3 are not allowed
        assert greedy_pairs(q, mask, generator(0)).u.tolist() == [[2, 0]]

    def test_draws_are_uniform_and_repeatable(self) -> None:
        mask = torch.tensor([[[True, True, False, True], [True, True, False, False]]]).expand(6000, -1, -1)
        pairs = unilateral_pairs(mask, generator(3))
        again = unilateral_pairs(mask, generator(3))
        assert torch.equal(pairs.u, again.u)
        assert torch.equal(pairs.v, again.v)
        # Joint actions: 3 * 2, each 1000 times; each agent deviates in half of the pairs. Four standard errors: ~ 120.
        counts = (pairs.u[:, 0] * 2 + pairs.u[:, 1]).bincount()
        assert counts[counts > 0].tolist() == pytest.approx([1000] * 6, abs=120)
        assert int((pairs.u[:, 0] != pairs.v[:, 0]).sum()) == pytest.approx(3000, abs=160)

    def test_rows_without_a_choice_are_left_out_and_agents_without_an_action_refused(self) -> None:
        mask = torch.tensor([[[True, False], [False, True]], [[True, False], [True, True]]])
        pairs = unilateral_pairs(mask, generator(0))
        assert pairs.rows.tolist() == [1]
        assert sorted([pairs.u[0, 1].item(), pairs.v[0, 1].item()]) == [0, 1]
        with pytest.raises(ValueError, match="agent 1 of row 0 has no legal action"):
            unilateral_pairs(mask & torch.tensor([[True], [False]]), generator(0))


class TestOrder:
    def test_by_hand_ties_never_count(self) -> None:
        # pair:                     kept  flipped  tie before  tie after  flipped within the tie width
        before_u = torch.tensor([2.0, 2.0, 1.0, 3.0, 2.0])
        before_v = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0])
        after_u = torch.tensor([5.0, 0.0, 0.0, 4.0, 4.0])
        after_v = torch.tensor([4.0, 1.0, 9.0, 4.0, 4.0000005])
        assert order_flips(before_u, before_v, after_u, after_v) == (4, 1)
        assert order_flips(before_u, before_v, after_u, after_v, eps=0.0) == (4, 2)  # the last one too

    def test_the_width_of_a_tie_follows_the_values(self) -> None:
        u, v = torch.tensor([1e6, 1.0, -1.0]).double(), torch.tensor([1e6 + 0.5, 1.5, -1.5]).double()
        assert strict_preference(u, v, 1e-6).tolist() == [0, -1, 1]
        assert strict_preference(u, v, 0.0).tolist() == [-1, -1, 1]

    def test_an_agent_without_influence_breaks_the_literal_order_but_no_strict_one(self) -> None:
        """docs/method.md 5.3 item 2: weight 0 before, any weight after."""
        q_u, q_v = torch.randn(2, 500, generator=generator(0))
        before, after = (0 * q_u, 0 * q_v), (0.7 * q_u, 0.7 * q_v)
        assert int(((before[0] >= before[1]) & (after[0] < after[1])).sum()) > 100
        assert order_flips(*before, *after) == (0, 0)

    def test_refusals(self) -> None:
        one = torch.ones(1)
        with pytest.raises(ValueError, match="after_v holds values that are not finite"):
            order_flips(one, one, one, one * torch.nan)
        with pytest.raises(ValueError, match=r"after_u is \[2\]; expected \[1\]"):
            order_flips(one, one, torch.ones(2), one)
        with pytest.raises(ValueError, match="eps is -1"):
            order_flips(one, one, one, one, eps=-1)


class TestMixers:
    @given(seed=st.integers(0, 10_000), noise=st.sampled_from([1e-3, 1.0, 10.0]))
    @settings(max_examples=25, deadline=None)
    def test_no_change_of_a_monotonic_mixer_reverses_a_strict_order(self, seed: int, noise: float) -> None:
        team = RandomTeam(seed)
        pairs = unilateral_pairs(team.mask, generator(seed))
        before = team.pair_values(pairs, team.mixer, team.q())
        changed = copy.deepcopy(team.mixer)
        with torch.no_grad():
            for parameter in changed.parameters():
                parameter += noise * torch.randn(parameter.shape, generator=generator(seed)).double()
        torch.manual_seed(seed + 1)
        for mixer in (changed, QMixer(3, 5, embed_dim=6, hypernet_dim=7).double()):  # the second: re-initialised
            after = team.pair_values(pairs, mixer, team.q())
            count = order_flips(*before, *after)
            assert count.strict_pairs > 200
            assert count.flips == 0
            assert function_drift(before[0], after[0]) > 1e-5

    def test_a_mixer_that_is_not_monotonic_is_caught(self) -> None:
        team = RandomTeam(1)
        pairs = unilateral_pairs(team.mask, generator(1))
        before = team.pair_values(pairs, team.mixer, team.q())
        count = order_flips(*before, *team.pair_values(pairs, SignedMixer(), team.q()))
        # One of three agents deviates in a third of the pairs, and for it every order is turned round.
        assert 0.2 < count.flips / count.strict_pairs < 0.5
        greedy = greedy_pairs(team.q(), team.mask, generator(1))
        before = team.pair_values(greedy, team.mixer, team.q())
        assert order_flips(*before, *team.pair_values(greedy, SignedMixer(), team.q())).flips > 30

    def test_new_heads_of_the_agents_reverse_many(self) -> None:
        team = RandomTeam(2)
        pairs = unilateral_pairs(team.mask, generator(2))
        before = team.pair_values(pairs, team.mixer, team.q())
        agents = copy.deepcopy(team.agents)
        agents.nets[0].head.reset_parameters()
        count = order_flips(*before, *team.pair_values(pairs, team.mixer, team.q(agents)))
        assert count.flips > 0.2 * count.strict_pairs
        assert not agents_identical(team.agents.state_dict(), agents.state_dict())


class TestIgm:
    # Two agents with two actions; the agents' best actions are (1, 0).
    Q = torch.tensor([[[0.0, 1.0], [2.0, 0.0]]])
    ALL = torch.ones(1, 2, 2, dtype=torch.bool)

    @staticmethod
    def table(rows_of_first: list[list[float]]):
        """Q_tot by the two actions."""
        values = torch.tensor(rows_of_first)
        return lambda rows, actions: values[actions[:, 0], actions[:, 1]]

    def test_by_hand(self) -> None:
        assert igm_holds(self.Q, self.table([[5.0, 0.0], [6.0, 1.0]]), self.ALL).tolist() == [True]
        for better in ([[7.0, 0.0], [6.0, 1.0]], [[0.0, 7.0], [6.0, 1.0]], [[0.0, 0.0], [6.0, 7.0]]):
            assert igm_holds(self.Q, self.table(better), self.ALL).tolist() == [False]
        assert igm_holds(self.Q, self.table([[6.0, 0.0], [6.0, 6.0]]), self.ALL).tolist() == [True]  # a tie
        # The better joint action (0, 0) is not allowed.
        mask = torch.tensor([[[False, True], [True, True]]])
        assert igm_holds(self.Q, self.table([[7.0, 0.0], [6.0, 1.0]]), mask).tolist() == [True]

    def test_every_legal_joint_action_is_tried(self) -> None:
        visited = []

        def q_tot(rows: Tensor, actions: Tensor) -> Tensor:
            visited.append((set(rows.tolist()), {tuple(a) for a in actions.tolist()}))
            return actions.sum(1).float()

        mask = torch.tensor([[[True, False, True], [False, True, True]], [[True, False, False], [True, True, True]]])
        igm_holds(torch.zeros(2, 2, 3), q_tot, mask)
        assert visited == [({0}, {(0, 1), (0, 2), (2, 1), (2, 2)}), ({1}, {(0, 0), (0, 1), (0, 2)})]

    def test_one_agent_alone(self) -> None:
        q = torch.tensor([[[1.0, 3.0, 2.0]]])
        mask = torch.ones(1, 1, 3, dtype=torch.bool)
        assert igm_holds(q, lambda rows, actions: q[0, 0][actions[:, 0]], mask).all()
        assert not igm_holds(q, lambda rows, actions: -q[0, 0][actions[:, 0]], mask).any()

    def test_qmix_keeps_it_and_the_signed_mixer_does_not(self) -> None:
        team = RandomTeam(4, rows=60)
        q = team.q()
        for mixer, all_hold in ((team.mixer, True), (SignedMixer(), False)):

            def q_tot(rows: Tensor, actions: Tensor, mixer: nn.Module = mixer) -> Tensor:
                with torch.no_grad():
                    return mixer(chosen_values(q[rows], actions), team.state[rows])

            assert bool(igm_holds(q, q_tot, team.mask).all()) is all_hold

    def test_large_teams_are_refused_with_their_number(self) -> None:
        mask = torch.ones(1, 6, 8, dtype=torch.bool)
        with pytest.raises(ValueError, match="262,144 joint actions and at most 100,000"):
            igm_holds(torch.zeros(1, 6, 8), lambda rows, actions: actions[:, 0], mask)
        assert joint_action_count(torch.ones(1, 40, 10, dtype=torch.bool)) == 10**40  # beyond 64 bits
        mixed = torch.zeros(2, 2, 3, dtype=torch.bool)
        mixed[0, :, :2] = mixed[1, 0, 0] = mixed[1, 1] = True
        assert joint_action_count(mixed) == 4  # 2 * 2 and 1 * 3


def test_function_drift_by_hand() -> None:
    # |changes| 1, 0, 4 over |values| 1, 2, 5
    assert function_drift(torch.tensor([1.0, -2.0, 5.0]), torch.tensor([2.0, -2.0, 9.0])) == pytest.approx(5 / 8)
    assert function_drift(torch.zeros(2, 3), torch.zeros(2, 3)) == 0
    with pytest.raises(ValueError, match=r"\[2\] before and \[3\] after"):
        function_drift(torch.zeros(2), torch.zeros(3))


def test_agents_identical_means_to_the_bit() -> None:
    state = {"w": torch.tensor([0.0, torch.nan, 1.0]), "n": torch.tensor(3)}
    assert agents_identical(state, copy.deepcopy(state))
    assert not agents_identical(state, state | {"w": torch.tensor([-0.0, torch.nan, 1.0])})
    assert not agents_identical(state, state | {"w": torch.tensor([0.0, torch.nan, 1.0000001])})
    assert not agents_identical(state, {"w": state["w"]})
    assert not agents_identical(state, state | {"n": torch.tensor(3.0)})


def test_q_drift_by_hand() -> None:
    # Untreated 1, 3: mean 2, standard deviation 1. Changes 2 and 1.
    assert q_drift(torch.tensor([1.0, 3.0]), torch.tensor([3.0, 2.0])) == pytest.approx(1.5)
    assert q_drift(torch.tensor([2.0, 2.0]), torch.tensor([2.0, 2.0])) == 0.0
    # Nothing to measure it by, or nothing that can be measured.
    assert q_drift(torch.tensor([2.0, 2.0]), torch.tensor([2.0, 3.0])) is None
    assert q_drift(torch.tensor([1.0, torch.inf]), torch.tensor([1.0, 2.0])) is None
    for other in (torch.zeros(3), torch.zeros(0)):
        with pytest.raises(ValueError, match="expected equal shapes"):
            q_drift(torch.zeros(2), other)

"""ResQ's decomposition: the residual's sign and mask, IGM of Q_jt by enumeration, and what Q_jt can represent."""

import torch

from rllib_reborn.nets.mixers import QMixer, ResQMixer
from rllib_reborn.nets.mixers.mixer import chosen_values, greedy_actions
from tests.nets.central_mixers import A, N, S, critic, joint_actions, resq_mixer


def test_the_residual_is_never_positive_and_nothing_at_the_greedy_action():
    mixer = resq_mixer()
    residual_q, state = 3 * torch.randn(400, N, A), torch.randn(400, S)
    greedy = torch.randint(A, (400, N))
    actions = torch.where(torch.rand(400, 1) < 0.3, greedy, torch.randint(A, (400, N)))
    at_greedy = (actions == greedy).all(1)
    raw = mixer.residual.of_actions(residual_q, actions, state)
    assert (raw > 0).any()
    assert (raw < 0).any()
    residual = mixer.masked_residual(residual_q, actions, greedy, state)
    assert 50 < int(at_greedy.sum()) < 350
    assert (residual[at_greedy] == 0).all()
    torch.testing.assert_close(residual[~at_greedy], -raw[~at_greedy].abs(), rtol=0, atol=0)
    assert (residual[~at_greedy] < 0).all()


def test_one_agent_off_is_enough_for_the_residual():
    mixer = resq_mixer()
    greedy = torch.zeros(1, N, dtype=torch.int64)
    off = greedy.clone()
    off[0, 1] = 2
    q, state = torch.randn(1, N, A), torch.randn(1, S)
    assert mixer.masked_residual(q, off, greedy, state).item() < 0


def test_a_batch_of_greedy_actions_still_gives_every_parameter_a_gradient():
    """DDP waits for a gradient of each."""
    mixer = resq_mixer()
    greedy = torch.zeros(6, N, dtype=torch.int64)
    q = mixer.residual.unroll(torch.randn(6, N, 4), [6])
    mixer.masked_residual(q, greedy, greedy, torch.randn(6, S)).sum().backward()
    for parameter in mixer.residual.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()


def joint_values(mixer, q, residual_q, state, joint, n_actions=A):
    """Q_tot and Q_jt of all joint actions at one state."""
    count = len(joint)
    every = state.expand(count, -1)
    mask = torch.ones(1, *q.shape, dtype=torch.bool)
    greedy = greedy_actions(q.unsqueeze(0), mask).expand(count, -1)
    main = mixer(chosen_values(q.expand(count, -1, -1), joint), every)
    return main, main + mixer.masked_residual(residual_q.expand(count, -1, -1), joint, greedy, every)


def test_the_greedy_joint_action_is_a_maximum_of_q_tot_and_of_q_jt():
    joint = joint_actions()
    for seed in range(30):
        mixer = resq_mixer(seed)
        with torch.no_grad():
            mixer.residual.mixer.net[6].weight.mul_(20)  # a residual as large as it likes
        q, residual_q, state = 3 * torch.randn(N, A), torch.randn(N, A), torch.randn(1, S)
        main, joined = joint_values(mixer, q, residual_q, state, joint)
        at = (joint == q.argmax(1)).all(1)
        assert joined[at].item() == main[at].item()
        assert main[at].item() >= main.max().item() - 1e-6
        assert joined[at].item() >= joined.max().item() - 1e-6


def test_q_jt_represents_what_no_monotonic_mixing_can():
    """The table of the one-step game, with the agents' values fixed so that (0, 0) is greedy."""
    payoff = torch.tensor([8.0, -12.0, -12.0, -12.0, 0.0, 0.0, -12.0, 0.0, 0.0])
    joint, state = joint_actions(2, 3), torch.ones(1, 1)
    torch.manual_seed(0)
    q = torch.tensor([[1.0, 0.0, -0.3], [1.0, 0.1, -0.2]])
    parts = [critic(16, n_agents=2, state_dim=1) for _ in range(2)]
    mixer = ResQMixer(2, 1, *parts, embed_dim=8)
    residual_q = torch.nn.Parameter(torch.randn(2, 3))
    plain = QMixer(2, 1, embed_dim=8)
    optimizer = torch.optim.Adam([*mixer.parameters(), residual_q, *plain.parameters()], lr=3e-2)
    for _ in range(120):
        _, joined = joint_values(mixer, q, residual_q, state, joint)
        alone = plain(chosen_values(q.expand(9, -1, -1), joint), state.expand(9, -1))
        loss = (joined - payoff).square().mean() + (alone - payoff).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (joined - payoff).abs().max().item() < 0.5
    assert (alone - payoff).abs().max().item() > 5
    assert joined.argmax().item() == 0

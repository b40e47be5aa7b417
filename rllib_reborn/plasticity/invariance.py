"""What a change of weights leaves as it was: the function, the order of joint actions, the best joint action.

Knowledge invariance (KI; docs/method.md 5.1): for joint actions u, u' that differ in exactly one agent's action,
``Q_tot(u) >= Q_tot(u')`` before implies the same after. It holds for *any* change of a monotonic mixer (5.3 item 1), so
it shows that the agents' networks were left alone; :func:`function_drift` shows how much the values changed.
Read both.

Everything here is about tensors and callables and knows no algorithm. Illegal actions are left out by their mask; agent
values must be the networks' own (counterfactual) ones and not ones with a large negative number in place of illegal
actions, which would swamp every difference (5.6 f).

Symbols: ``rows`` states, ``n`` agents, ``A`` actions of one agent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

#: Relative difference up to which two values count as a tie: far above rounding of float32, far below a real
#: preference.
TIE = 1e-6

#: Most joint actions of one state that :func:`igm_holds` enumerates.
MOST_JOINT_ACTIONS = 100_000

#: Value of joint actions: (rows [K], which state; actions [K, n]) -> Q_tot [K].
JointValue = Callable[[Tensor, Tensor], Tensor]


class OrderCount(NamedTuple):
    """Result of :func:`order_flips`."""

    strict_pairs: int  #: pairs in which one joint action was strictly better before
    flips: int  #: those of them in which the other one is strictly better after


class UnilateralPairs(NamedTuple):
    """Joint actions that differ in exactly one agent's action."""

    rows: Tensor  #: [P] int64, the state that each pair belongs to
    u: Tensor  #: [P, n] int64
    v: Tensor  #: [P, n] int64


def function_drift(before: Tensor, after: Tensor) -> float:
    """Mean |after - before| over mean |before| (docs/method.md 5.6 a); 0 for equal tensors of any shape.

    Raises:
        ValueError: The shapes differ, or there are no values.
    """
    if before.shape != after.shape or before.numel() == 0:
        raise ValueError(
            f"values are {list(before.shape)} before and {list(after.shape)} after; expected equal shapes."
        )
    return float((after - before).abs().mean() / before.abs().mean().clamp(min=1e-12))


def q_drift(untreated: Tensor, treated: Tensor) -> float | None:
    """Mean |treated - untreated| over the standard deviation of ``untreated``: how far values moved, measured by how much
    they differ among themselves. 0 for equal tensors; None where ``untreated`` are all the same, or where the values are
    not finite.

    Raises:
        ValueError: The shapes differ, or there are no values.
    """
    if untreated.shape != treated.shape or untreated.numel() == 0:
        raise ValueError(
            f"values are {list(untreated.shape)} untreated and {list(treated.shape)} treated; expected equal shapes."
        )
    moved = (treated - untreated).abs().mean()
    if moved == 0:
        return 0.0
    drift = float(moved / untreated.std(correction=0))
    return drift if math.isfinite(drift) else None


def greedy_actions(q: Tensor, mask: Tensor) -> Tensor:
    """Each agent's best legal action: ``q`` [rows, n, A], ``mask`` [rows, n, A] bool -> [rows, n] int64.

    Raises:
        ValueError: An agent has no legal action.
    """
    _check_legal(mask)
    return q.masked_fill(~mask, -torch.inf).argmax(-1)


def chosen_values(q: Tensor, actions: Tensor) -> Tensor:
    """Values of the chosen actions: ``q`` [rows, n, A], ``actions`` [rows, n] -> [rows, n]."""
    return q.gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def unilateral_pairs(mask: Tensor, generator: torch.Generator) -> UnilateralPairs:
    """One random pair per row: a joint action of legal actions, and another legal action for one of its agents.

    Everything is drawn uniformly: the joint action, the agent (among those with a choice) and its other action. Rows
    where nobody has two legal actions are left out.

    Args:
        mask: [rows, n, A] bool, legal actions.
        generator: CPU generator; the only source of randomness.

    Raises:
        ValueError: An agent has no legal action.
    """
    _check_legal(mask)
    rows, mask = _with_a_choice(mask)
    return _deviate(rows, _random_true(mask, generator), mask, generator)


def greedy_pairs(q: Tensor, mask: Tensor, generator: torch.Generator) -> UnilateralPairs:
    """As :func:`unilateral_pairs`, with the greedy joint action of ``q`` [rows, n, A] as ``u``.

    These are the only pairs for which QPLEX, whose weights depend on the joint action, can promise an order
    (docs/method.md 5.3 item 3).
    """
    best = greedy_actions(q, mask)
    rows, mask = _with_a_choice(mask)
    return _deviate(rows, best[rows], mask, generator)


def order_flips(before_u: Tensor, before_v: Tensor, after_u: Tensor, after_v: Tensor, eps: float = TIE) -> OrderCount:
    """How many strict preferences were reversed.

    A pair counts when ``|before_u - before_v| > eps * scale``, with the scale of a pair the larger of its two |values|;
    it is flipped when the difference after has the other sign and is larger than ``eps`` times the scale after. Ties
    are never counted, neither before nor after, because the literal ``>=`` of the paper's definition fails for them
    without anything
    being lost: an agent with weight 0 makes every one of its actions equal in Q_tot, and any new weight breaks those
    ties, half of them "the wrong way" (docs/method.md 5.3 item 2: 3686 of 4096 pairs).

    Args:
        before_u, before_v: [P] values of the two joint actions of each pair before the change.
        after_u, after_v: [P] after it.
        eps: Relative size of a tie, >= 0.

    Raises:
        ValueError: Shapes differ, a value is not finite (it would compare as "no flip"), or ``eps`` is negative.
    """
    values = {"before_u": before_u, "before_v": before_v, "after_u": after_u, "after_v": after_v}
    for name, value in values.items():
        if value.shape != before_u.shape:
            raise ValueError(f"{name} is {list(value.shape)}; expected {list(before_u.shape)} as before_u.")
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name} holds values that are not finite; their order cannot be compared.")
    before = strict_preference(before_u, before_v, eps)
    after = strict_preference(after_u, after_v, eps)
    return OrderCount(int((before != 0).sum()), int((before * after < 0).sum()))


def strict_preference(value_u: Tensor, value_v: Tensor, eps: float = TIE) -> Tensor:
    """[P] int64: 1 where u is strictly better (see :func:`order_flips`), -1 where v is, 0 for a tie.

    Raises:
        ValueError: ``eps`` is negative.
    """
    if eps < 0:
        raise ValueError(f"eps is {eps}; expected a number >= 0.")
    difference = value_u - value_v
    strict = difference.abs() > eps * torch.maximum(value_u.abs(), value_v.abs())
    return difference.sign().long() * strict


def joint_action_count(mask: Tensor) -> int:
    """Legal joint actions of the row that has most of them: ``mask`` [rows, n, A] bool."""
    # As Python numbers, because twenty agents with ten actions each do not fit in 64 bits.
    most = 0
    for counts in mask.sum(-1).unique(dim=0).tolist():
        product = 1
        for count in counts:
            product *= count
        most = max(most, product)
    return most


def igm_holds(
    q: Tensor,
    q_tot: JointValue,
    mask: Tensor,
    *,
    eps: float = TIE,
    most: int = MOST_JOINT_ACTIONS,
) -> Tensor:
    """Individual-global-max, by trying every legal joint action (docs/method.md 5.6 c).

    Args:
        q: [rows, n, A] agent values.
        q_tot: Value of joint actions, see :data:`JointValue`; it is called once per row.
        mask: [rows, n, A] bool, legal actions.
        eps: The agents' greedy actions may fall short of the best joint action by this share of its |value|, as a tie.
        most: Refuse states with more joint actions than this.

    Returns:
        [rows] bool: no joint action is better than the one of the agents' own best actions.

    Raises:
        ValueError: A state has more than ``most`` joint actions, or an agent has no legal action.
    """
    count = joint_action_count(mask)
    if count > most:
        raise ValueError(
            f"a state has {count:,} joint actions and at most {most:,} are enumerated; check IGM on a smaller team."
        )
    greedy = greedy_actions(q, mask)
    holds = torch.empty(len(q), dtype=torch.bool, device=q.device)
    for row in range(len(q)):
        legal = [of_agent.nonzero().flatten() for of_agent in mask[row]]
        joint = torch.cartesian_prod(*legal).reshape(-1, mask.shape[1])  # one agent alone gives [A], not [A, 1]
        joint = torch.cat([greedy[row : row + 1], joint])
        values = q_tot(torch.full((len(joint),), row, device=q.device), joint)
        best = values.max()
        holds[row] = values[0] >= best - eps * best.abs()
    return holds


def agents_identical(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> bool:
    """Have two state dicts the same names and, to the bit, the same tensors (docs/method.md 5.6 d)?"""
    if before.keys() != after.keys():
        return False
    return all(_same_bits(before[name], after[name]) for name in before)


def _same_bits(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    # As bytes: a NaN equals itself, and 0.0 is not -0.0.
    flat_a, flat_b = (x.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for x in (a, b))
    return torch.equal(flat_a, flat_b)


def _check_legal(mask: Tensor) -> None:
    if not bool(mask.any(-1).all()):
        row, agent = (~mask.any(-1)).nonzero()[0].tolist()
        raise ValueError(f"agent {agent} of row {row} has no legal action; expected at least one.")


def _with_a_choice(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers and masks of the rows in which somebody has two legal actions."""
    rows = (mask.sum(-1) > 1).any(-1).nonzero().flatten()
    return rows, mask[rows]


def _deviate(rows: Tensor, u: Tensor, mask: Tensor, generator: torch.Generator) -> UnilateralPairs:
    """Another legal action for one agent of each joint action ``u`` [P, n]; ``mask`` [P, n, A] of the same rows."""
    agent = _random_true(mask.sum(-1) > 1, generator).unsqueeze(1)
    others = mask.scatter(2, u.unsqueeze(2), False)
    v = u.scatter(1, agent, _random_true(others, generator).gather(1, agent))
    return UnilateralPairs(rows, u, v)


def _random_true(mask: Tensor, generator: torch.Generator) -> Tensor:
    """Uniformly one of the True places of the last dimension; [..., A] -> [...]; 0 where there is none."""
    keys = torch.rand(mask.shape, generator=generator).to(mask.device)
    return keys.masked_fill(~mask, -1.0).argmax(-1)

"""Attacks that hit: the numpy half of the physics that deals damage. Few units hit in one loop, so all arrays are short."""

from __future__ import annotations

import numpy as np

from rllib_reborn.envs.battle.field_rules import BURST, LEAST, LINE_LENGTH, LINE_WIDTH, ONE, SHIELD_WAIT, TINY, ZERO
from rllib_reborn.envs.battle.field_state import BoolArray, FieldState, IntArray
from rllib_reborn.envs.battle.unit_stats import TABLES


def resolve_attacks(state: FieldState, attackers: IntArray, bursts: IntArray) -> IntArray:
    """Resolve the attacks that hit in this loop. Units are named by their numbers through all battles.

    All of them hit, also those of units that die in this loop. Those on one target hit in the order of the attackers; what
    goes beyond a target's life is lost.

    Args:
        state: The battles; health, shields and waits of those hit are changed, and who bursts in the next loop.
        attackers: Those whose attack hits, ascending.
        bursts: Banelings that were killed in the loop before.

    Returns:
        Those who are dead of it, each once; the Banelings among the attackers too.
    """
    kind, present = state.kind.reshape(-1), state.present
    own = kind[attackers]
    bursting = suicides = attackers[:0]
    if present.bursts:
        explodes = TABLES.bursts[own]
        suicides = attackers[explodes]
        bursting = np.concatenate([suicides, bursts])
        state.bursting.reshape(-1)[bursts] = False
        attackers, own = attackers[~explodes], own[~explodes]
    by = [attackers]
    at = [state.target.reshape(-1)[attackers] * state.B + attackers % state.B]
    if present.sweeps:
        _add(by, at, _sweep(state, attackers[TABLES.sweeps[own]]))
    if bursting.size:
        _add(by, at, _burst(state, bursting))
    hitter, target = (by[0], at[0]) if len(by) == 1 else (np.concatenate(by), np.concatenate(at))
    dead = _hurt(state, hitter, target) if target.size else target
    if not present.bursts:
        return dead
    state.bursting.reshape(-1)[dead[TABLES.bursts[kind[dead]]]] = True
    state.bursting.reshape(-1)[suicides] = False
    everybody: IntArray = np.union1d(dead, suicides)
    return everybody


def _add(by: list[IntArray], at: list[IntArray], more: tuple[IntArray, IntArray]) -> None:
    by.append(more[0])
    at.append(more[1])


def _sweep(state: FieldState, colossi: IntArray) -> tuple[IntArray, IntArray]:
    """Pairs of a Colossus and an opponent beside its target, on a line across the direction of fire."""
    s = state
    unit, b = colossi // s.B, colossi % s.B
    target = s.target.reshape(-1)[colossi]
    dx, dy = s.x[target, b] - s.x[unit, b], s.y[target, b] - s.y[unit, b]
    length = np.sqrt(dx * dx + dy * dy)
    nowhere = length <= TINY
    length = np.where(nowhere, ONE, length)
    dx, dy = np.where(nowhere, ONE, dx / length), np.where(nowhere, ZERO, dy / length)
    vx, vy = s.x[:, b] - s.x[target, b], s.y[:, b] - s.y[target, b]  # [U, k]
    along, across = np.abs(vx * dx + vy * dy), np.abs(vy * dx - vx * dy)
    radius = s.radius[:, b]
    hit = (along <= LINE_WIDTH + radius) & (across <= LINE_LENGTH + radius)
    hit &= _opponents(s, unit, b)
    hit &= s.unit != target
    who, k = hit.nonzero()
    return colossi[k], who * s.B + b[k]


def _burst(state: FieldState, banelings: IntArray) -> tuple[IntArray, IntArray]:
    """Pairs of a bursting Baneling and an opponent close to it."""
    s = state
    unit, b = banelings // s.B, banelings % s.B
    vx, vy = s.x[:, b] - s.x[unit, b], s.y[:, b] - s.y[unit, b]
    reach = BURST + s.radius[:, b]
    hit = vx * vx + vy * vy <= reach * reach
    hit &= _opponents(s, unit, b)
    who, k = hit.nonzero()
    return banelings[k], who * s.B + b[k]


def _opponents(state: FieldState, unit: IntArray, battle: IntArray) -> BoolArray:
    """[U, k] whom units could hurt: living, of the other side, and not out of their weapon's reach in the air."""
    s = state
    other = s.alive[:, battle] & ((s.unit < s.n) != (unit < s.n))
    other &= TABLES.damage[s.kind[unit, battle], s.kind[:, battle]] > 0
    return other


def _hurt(state: FieldState, hitter: IntArray, target: IntArray) -> IntArray:
    """Deal the damage; returns who is dead of it, ascending."""
    kind, health = state.kind.reshape(-1), state.health.reshape(-1)
    order = np.argsort(target * state.U + hitter // state.B)
    own, target = kind[hitter[order]], target[order]
    if state.present.many_hits:
        hits = TABLES.hits[own]
        own, target = own.repeat(hits), target.repeat(hits)
    struck = kind[target]
    damage, armour = TABLES.damage[own, struck], TABLES.armour[struck]
    first = np.empty(target.size, np.bool_)
    first[0] = True
    np.not_equal(target[1:], target[:-1], out=first[1:])
    starts = np.flatnonzero(first)
    victims = target[starts]
    if state.present.shields:
        # A hit meets what the hits before it left of the shield; only what goes through meets the armour.
        shield = state.shield.reshape(-1)
        before = np.cumsum(damage)
        before -= damage
        before -= before[starts][np.cumsum(first) - 1]
        left = shield[target]
        left -= before
        np.maximum(left, 0, out=left)
        through = damage - left
        loss = np.maximum(through - armour, LEAST)
        loss *= through > 0
        shield[victims] = np.maximum(shield[victims] - np.add.reduceat(damage, starts), 0)
        state.shield_wait.reshape(-1)[victims] = SHIELD_WAIT
    else:
        loss = np.maximum(damage - armour, LEAST)
    rest = health[victims] - np.add.reduceat(loss, starts)
    health[victims] = rest
    return victims[rest <= 0]

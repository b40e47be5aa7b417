"""The game loop of :mod:`rllib_reborn.envs.battle.physics_numpy`, battle by battle, compiled.

The same steps with the same float32 operations in the same order, so that both give the same bits; the rules are explained
there. Sums over pairs of units are float64 in both. Compiled once and cached on disk.

All compiled functions are in this one file: numba's cache does not notice changes of functions in other files.

Importing this module needs numba.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rllib_reborn.compiled_functions import compiled
from rllib_reborn.envs.battle import field_rules as fr
from rllib_reborn.envs.battle import field_state as fs

_compiled = compiled()

_IDLE, _MOVE, _ATTACK, _HEAL = fs.IDLE, fs.MOVE, fs.ATTACK, fs.HEAL
_NOT_WINDING = np.float32(fs.NOT_WINDING)
_ANYWHERE, _FULL_ENERGY = fs.ANYWHERE, fr.FULL_ENERGY
_SLACK, _TINY, _ARRIVED, _FOLLOW, _EDGE = fr.SLACK, fr.TINY, fr.ARRIVED, fr.FOLLOW, fr.EDGE
_PUSH, _SLIP, _SLIP_MEMORY = fr.PUSH, fr.SLIP, fr.SLIP_MEMORY
_SCAN_PERIOD, _HUNT_PERIOD = fr.SCAN_PERIOD, fr.HUNT_PERIOD
_UNARMED, _ATTACKER, _FAR = fr.UNARMED, fr.ATTACKER, fr.FAR
_NO_TARGET, _NOBODY = fr.NO_TARGET, fr.NOBODY
_HEAL_POINTS, _HEAL_PRICE = fr.HEAL_STEP, fr.HEAL_PRICE
_SHIELD_DELAY, _LEAST = fr.SHIELD_WAIT, fr.LEAST
_BURST, _LINE_LENGTH, _LINE_WIDTH = fr.BURST, fr.LINE_LENGTH, fr.LINE_WIDTH
_DELAY_LOW, _DELAY_SPAN, _TO_UNIT = fr.DELAY_LOW, fr.DELAY_SPAN, fr.TO_UNIT
# SplitMix64, as in random_streams.
_GOLDEN, _MIX_1, _MIX_2 = fr.GOLDEN, np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S40, _U1 = np.uint64(27), np.uint64(30), np.uint64(31), fr.DELAY_BITS_SHIFT, np.uint64(1)
_ZERO, _HALF, _ONE = fr.ZERO, fr.HALF, fr.ONE


@_compiled
def _random_delay(key: Any, counter: Any) -> Any:
    """As ``RandomStreams`` draws it, and scaled."""
    z = counter * _GOLDEN + key
    z ^= z >> _S30
    z *= _MIX_1
    z ^= z >> _S27
    z *= _MIX_2
    z ^= z >> _S31
    uniform = np.float32(z >> _S40)
    uniform *= _TO_UNIT
    uniform *= _DELAY_SPAN
    uniform += _DELAY_LOW
    return uniform


@_compiled
def _squared(x: Any, y: Any) -> Any:
    return x * x + y * y


@_compiled
def _send_on(u: int, goes: bool, task: Any, target: Any, near: Any) -> None:
    task[u] = _MOVE if goes else _IDLE
    target[u] = -1
    near[u] = _ARRIVED if goes else _ANYWHERE


@_compiled
def _scan(
    n: int, U: int, hunting: bool, goes: bool, kind: Any, alive: Any, task: Any, target: Any, x: Any, y: Any,
    near: Any, cooldown: Any, wind_up: Any, health: Any, health_max: Any, reach: Any, radius: Any, armed: Any,
    heals: Any, biological: Any, damage: Any, acquire: Any,
) -> None:  # fmt: skip
    for e in range(n, U):
        if not alive[e]:
            continue
        own = kind[e]
        acquire_squared = acquire[own] * acquire[own]
        if armed[own]:
            if task[e] == _ATTACK:
                t = target[e]
                if hunting or wind_up[e] >= 0 or np.sqrt(_squared(x[t] - x[e], y[t] - y[e])) - near[e] <= _SLACK:
                    continue
            best, best_score = -1, _NOBODY if hunting else _NO_TARGET
            for a in range(n):
                if not alive[a] or damage[own, kind[a]] <= 0:
                    continue
                score = _squared(x[a] - x[e], y[a] - y[e])
                if not hunting:
                    if task[a] == _ATTACK and target[a] == e and (cooldown[a] > 0 or wind_up[a] >= 0):
                        score += _ATTACKER
                    elif score > acquire_squared:
                        score += _FAR
                    if not armed[kind[a]]:
                        score += _UNARMED
                if score < best_score:
                    best, best_score = a, score
            if best >= 0:
                task[e] = _ATTACK
                target[e] = best
                near[e] = reach[e] + radius[best]
            else:
                _send_on(e, goes, task, target, near)
        elif heals[own]:
            if task[e] == _HEAL:
                t = target[e]
                hurt = alive[t] and biological[kind[t]] and health[t] < health_max[t] and t != e
                if hurt and np.sqrt(_squared(x[t] - x[e], y[t] - y[e])) - near[e] <= _SLACK:
                    continue
            best, best_score = -1, _FAR
            for f in range(n, U):
                if f == e or not alive[f] or not biological[kind[f]] or not health[f] < health_max[f]:
                    continue
                score = _squared(x[f] - x[e], y[f] - y[e])
                if score < best_score:
                    best, best_score = f, score
            if best >= 0 and best_score <= acquire_squared:
                task[e] = _HEAL
                target[e] = best
                near[e] = reach[e] + radius[best]
                continue
            best, best_score = -1, _FAR
            if not goes:
                for f in range(n, U):
                    if f == e or not alive[f] or not armed[kind[f]]:
                        continue
                    score = _squared(x[f] - x[e], y[f] - y[e])
                    if score < best_score:
                        best, best_score = f, score
            if best >= 0:
                task[e] = _MOVE
                target[e] = best
                near[e] = _FOLLOW
            else:
                _send_on(e, goes, task, target, near)


@_compiled
def _splash(
    n: int, U: int, kind: Any, alive: Any, target: Any, x: Any, y: Any, radius: Any, damage: Any, sweeps: Any,
    hitters: Any, count: int, bursting: Any, bursts: int, hit_by: Any, hit_at: Any,
) -> int:  # fmt: skip
    """List who hits whom: ``hit_by``, ``hit_at``; returns how many."""
    total = 0
    for h in range(count):
        u = hitters[h]
        hit_by[total], hit_at[total] = u, target[u]
        total += 1
    for h in range(count):
        u = hitters[h]
        if not sweeps[kind[u]]:
            continue
        t = target[u]
        dx, dy = x[t] - x[u], y[t] - y[u]
        length = np.sqrt(_squared(dx, dy))
        if length <= _TINY:
            dx, dy = _ONE, _ZERO
        else:
            dx, dy = dx / length, dy / length
        for v in range(U):
            if v == t or not alive[v] or (v < n) == (u < n) or damage[kind[u], kind[v]] <= 0:
                continue
            vx, vy = x[v] - x[t], y[v] - y[t]
            along, across = abs(vx * dx + vy * dy), abs(vy * dx - vx * dy)
            if along <= _LINE_WIDTH + radius[v] and across <= _LINE_LENGTH + radius[v]:
                hit_by[total], hit_at[total] = u, v
                total += 1
    for h in range(bursts):
        u = bursting[h]
        for v in range(U):
            if not alive[v] or (v < n) == (u < n) or damage[kind[u], kind[v]] <= 0:
                continue
            far = _BURST + radius[v]
            if _squared(x[v] - x[u], y[v] - y[u]) <= far * far:
                hit_by[total], hit_at[total] = u, v
                total += 1
    return total


@_compiled
def _hurt(
    U: int, total: int, any_shield: bool, kind: Any, health: Any, shield: Any, shield_wait: Any, damage: Any,
    armour: Any, hits: Any, hit_by: Any, hit_at: Any,
) -> None:  # fmt: skip
    # By target, then by attacker; there are few.
    for k in range(1, total):
        by, at = hit_by[k], hit_at[k]
        key = at * U + by
        p = k - 1
        while p >= 0 and hit_at[p] * U + hit_by[p] > key:
            hit_by[p + 1], hit_at[p + 1] = hit_by[p], hit_at[p]
            p -= 1
        hit_by[p + 1], hit_at[p + 1] = by, at
    start = 0
    while start < total:
        v = hit_at[start]
        protection, armour_v = shield[v], armour[kind[v]]
        before, loss = _ZERO, _ZERO
        k = start
        while k < total and hit_at[k] == v:
            own = kind[hit_by[k]]
            each = damage[own, kind[v]]
            for _ in range(hits[own]):
                through = each
                if any_shield:
                    through = each - max(protection - before, _ZERO)
                if through > 0:
                    loss += max(through - armour_v, _LEAST)
                before += each
            k += 1
        if any_shield:
            shield[v] = max(protection - before, _ZERO)
            shield_wait[v] = _SHIELD_DELAY
        health[v] -= loss
        start = k


@_compiled
def _push_apart(
    U: int, K: int, kind: Any, alive: Any, x: Any, y: Any, dx: Any, dy: Any, gap: Any, walks: Any, touch_radius: Any,
    plane: Any, pair_i: Any, pair_j: Any, pair_f: Any, sums: Any, slip_left: Any, slip_clock: Any, b: int, now: int,
) -> None:  # fmt: skip
    found = 0
    for i in range(U):
        if not alive[i]:
            continue
        last = K - 1 if U % 2 == 0 and i >= U // 2 else K
        for k in range(last):
            j = i + 1 + k
            if j >= U:
                j -= U
            if not alive[j]:
                continue
            px, py = x[j] - x[i], y[j] - y[i]
            touch = touch_radius[kind[i]] + touch_radius[kind[j]]
            squared = _squared(px, py)
            if squared < touch * touch and plane[kind[i]] == plane[kind[j]]:
                distance = np.sqrt(squared)
                if distance > _TINY:
                    nx, ny = px / distance, py / distance
                else:
                    nx, ny, distance = _ONE, _ZERO, _TINY
                pair_i[found], pair_j[found] = i, j
                pair_f[found, 0], pair_f[found, 1] = nx, ny
                pair_f[found, 2] = (touch - distance) * _PUSH
                found += 1
    if found == 0:
        return
    for u in range(U):
        sums[u, 0] = sums[u, 1] = sums[u, 2] = 0.0
    # Sums go over the first units of all pairs, then over the second.
    for p in range(found):
        i, j = pair_i[p], pair_j[p]
        left_i, left_j = gap[i] if walks[i] else _ZERO, gap[j] if walks[j] else _ZERO
        if left_i > left_j:
            sums[i, 0] += np.float64((dy[i] * pair_f[p, 0] - dx[i] * pair_f[p, 1]) * pair_f[p, 2])
    for p in range(found):
        i, j = pair_i[p], pair_j[p]
        left_i, left_j = gap[i] if walks[i] else _ZERO, gap[j] if walks[j] else _ZERO
        if left_j > left_i:
            sums[j, 0] += np.float64((dx[j] * pair_f[p, 1] - dy[j] * pair_f[p, 0]) * pair_f[p, 2])
    # Who gives way keeps to the side of a moment ago, else takes the better one.
    for p in range(found):
        i, j = pair_i[p], pair_j[p]
        left_i, left_j = gap[i] if walks[i] else _ZERO, gap[j] if walks[j] else _ZERO
        if left_i != left_j:
            u = i if left_i > left_j else j
            if now - slip_clock[u, b] > _SLIP_MEMORY:
                slip_left[u, b] = sums[u, 0] >= 0
            slip_clock[u, b] = now
    for second in range(2):
        for p in range(found):
            i, j = pair_i[p], pair_j[p]
            nx, ny, overlap = pair_f[p, 0], pair_f[p, 1], pair_f[p, 2]
            left_i, left_j = gap[i] if walks[i] else _ZERO, gap[j] if walks[j] else _ZERO
            share_i = _ONE if left_i > left_j else _ZERO if left_i < left_j else _HALF
            if second == 0:
                push, side = -overlap * share_i, _ZERO
                if left_i > left_j:
                    side = (_SLIP if slip_left[i, b] else -_SLIP) * overlap
                u = i
            else:
                push, side = overlap * (_ONE - share_i), _ZERO
                if left_j > left_i:
                    side = -(_SLIP if slip_left[j, b] else -_SLIP) * overlap
                u = j
            sums[u, 1] += np.float64(push * nx - side * ny)
            sums[u, 2] += np.float64(push * ny + side * nx)
    for u in range(U):
        x[u] = np.float32(np.float64(x[u]) + sums[u, 1])
        y[u] = np.float32(np.float64(y[u]) + sums[u, 2])


@_compiled
def advance_battles(
    loops: int, n: int, m: int, hunting: bool, goes: bool, collisions: bool, any_shield: bool, any_regeneration: bool,
    any_healer: bool, high_x: Any, high_y: Any, walled: bool, map_y: int, open_cells: Any, waypoint: Any,
    corner_x: Any, corner_y: Any, state_kind: Any, state_task: Any, state_target: Any, state_flags: Any,
    state_floats: Any, constants: Any, slip_left: Any, slip_clock: Any, clock: Any, keys: Any, counters: Any,
    damage: Any, armour: Any, hits: Any, touch_radius: Any, plane: Any, on_ground: Any, armed: Any, heals: Any,
    biological: Any, bursts: Any, sweeps: Any, acquire: Any,
) -> None:  # fmt: skip
    U, B = n + m, clock.shape[0]
    K = U // 2
    period_of_scan = _HUNT_PERIOD if hunting else _SCAN_PERIOD
    kind, target = np.empty(U, np.int64), np.empty(U, np.int64)
    task = np.empty(U, np.int8)
    alive, bursting, reached, walks = np.empty((4, U), np.bool_)
    floats, fixed = np.empty((11, U), np.float32), np.empty((10, U), np.float32)
    x, y, goal_x, goal_y, health, shield, energy, cooldown, wind_up, near, shield_wait = floats
    health_max, shield_max, speed, reach, radius, period, wind_up_time, regeneration, shield_rate, energy_rate = fixed
    dx, dy, distance, gap = np.empty((4, U), np.float32)
    old_x, old_y = np.empty((2, U), np.float32)
    hitters, burst_list = np.empty(U, np.int64), np.empty(U, np.int64)
    hit_by, hit_at = np.empty(U * (U + 1), np.int64), np.empty(U * (U + 1), np.int64)
    pair_i, pair_j = np.empty(U * max(K, 1), np.int64), np.empty(U * max(K, 1), np.int64)
    pair_f, sums = np.empty((U * max(K, 1), 3), np.float32), np.empty((U, 3), np.float64)
    for b in range(B):
        for u in range(U):
            kind[u], task[u], target[u] = state_kind[u, b], state_task[u, b], state_target[u, b]
            alive[u], bursting[u] = state_flags[0][u, b], state_flags[1][u, b]
        for k in range(11):
            for u in range(U):
                floats[k, u] = state_floats[k][u, b]
        for k in range(10):
            for u in range(U):
                fixed[k, u] = constants[k][u, b]
        for _ in range(loops):
            if clock[b] % period_of_scan == 0:
                _scan(
                    n, U, hunting, goes, kind, alive, task, target, x, y, near, cooldown, wind_up, health, health_max,
                    reach, radius, armed, heals, biological, damage, acquire,
                )  # fmt: skip
            # Distances, attacks that begin, attacks that hit.
            count = bursts_now = 0
            for u in range(U):
                t = target[u]
                dx[u], dy[u] = (x[t] if t >= 0 else goal_x[u]) - x[u], (y[t] if t >= 0 else goal_y[u]) - y[u]
                distance[u] = np.sqrt(_squared(dx[u], dy[u]))
                gap[u] = distance[u] - near[u]
                reached[u] = gap[u] <= _SLACK
                cooldown[u] = max(cooldown[u], _ZERO)
                if cooldown[u] > 0:
                    cooldown[u] -= _ONE
                if cooldown[u] <= 0 and reached[u] and task[u] == _ATTACK:
                    wind_up[u] = wind_up_time[u]
                    delay = _random_delay(keys[b], counters[b] + np.uint64(u) + _U1)
                    cooldown[u] += period[u] + delay
                fires = wind_up[u] == 0
                wind_up[u] = max(wind_up[u] - _ONE, _NOT_WINDING)
                if bursting[u]:
                    bursting[u] = False
                    burst_list[bursts_now] = u
                    bursts_now += 1
                if fires and bursts[kind[u]]:
                    burst_list[bursts_now] = u
                    bursts_now += 1
                    distance[u] = -_ONE  # it dies of this
                elif fires:
                    hitters[count] = u
                    count += 1
            if count + bursts_now > 0:
                total = _splash(
                    n, U, kind, alive, target, x, y, radius, damage, sweeps, hitters, count, burst_list, bursts_now,
                    hit_by, hit_at,
                )  # fmt: skip
                _hurt(U, total, any_shield, kind, health, shield, shield_wait, damage, armour, hits, hit_by, hit_at)
                deaths = False
                for u in range(U):
                    suicide = distance[u] < 0
                    if alive[u] and (health[u] <= 0 or suicide):
                        deaths = True
                        bursting[u] = bursts[kind[u]] and not suicide
                        alive[u] = False
                        health[u] = shield[u] = cooldown[u] = _ZERO
                        wind_up[u] = _NOT_WINDING
                        task[u], target[u], near[u] = _IDLE, -1, _ANYWHERE
                        regeneration[u] = shield_rate[u] = energy_rate[u] = _ZERO
                        reached[u] = True
                if deaths:
                    for u in range(U):
                        if target[u] >= 0 and not alive[target[u]]:
                            if wind_up[u] >= 0:
                                cooldown[u] = _ZERO
                            wind_up[u] = _NOT_WINDING
                            task[u], target[u], near[u] = _IDLE, -1, _ANYWHERE
                            reached[u] = True
            if any_healer:
                # Who can be healed is judged before anybody is.
                able = 0
                for u in range(U):
                    if task[u] == _HEAL and reached[u] and energy[u] >= _HEAL_PRICE:
                        t = target[u]
                        if 0 < health[t] < health_max[t]:
                            hitters[able] = u
                            able += 1
                for h in range(able):
                    u = hitters[h]
                    health[target[u]] += _HEAL_POINTS
                    energy[u] -= _HEAL_PRICE
                for h in range(able):
                    t = target[hitters[h]]
                    health[t] = min(health[t], health_max[t])
                for u in range(U):
                    energy[u] = min(energy[u] + energy_rate[u], _FULL_ENERGY)
            if any_shield:
                for u in range(U):
                    shield_wait[u] -= _ONE
                    if shield_wait[u] <= 0:
                        shield[u] += shield_rate[u]
                    shield[u] = min(shield[u], shield_max[u])
            if any_regeneration:
                for u in range(U):
                    health[u] = min(health[u] + regeneration[u], health_max[u])
            for u in range(U):
                old_x[u], old_y[u] = x[u], y[u]
                walks[u] = wind_up[u] < 0 and not reached[u]
                if not walks[u]:
                    continue
                if walled and on_ground[kind[u]]:
                    here = int(x[u]) * map_y + int(y[u])
                    where = waypoint[here, int(x[u] + dx[u]) * map_y + int(y[u] + dy[u])]
                    if where >= 0:
                        dx[u], dy[u] = corner_x[where] - x[u], corner_y[where] - y[u]
                        distance[u] = gap[u] = np.sqrt(_squared(dx[u], dy[u]))
                if collisions and slip_clock[u, b] == clock[b] - 1:
                    if slip_left[u, b]:
                        dx[u], dy[u] = -dy[u], dx[u]
                    else:
                        dx[u], dy[u] = dy[u], -dx[u]
                step = min(speed[u], gap[u]) / max(distance[u], _TINY)
                x[u] += dx[u] * step
                y[u] += dy[u] * step
            if collisions and K > 0:
                _push_apart(
                    U, K, kind, alive, x, y, dx, dy, gap, walks, touch_radius, plane, pair_i, pair_j, pair_f, sums,
                    slip_left, slip_clock, b, clock[b],
                )  # fmt: skip
            for u in range(U):
                x[u] = min(max(x[u], _EDGE), high_x)
                y[u] = min(max(y[u], _EDGE), high_y)
                if walled and on_ground[kind[u]] and not open_cells[int(x[u]) * map_y + int(y[u])]:
                    if open_cells[int(x[u]) * map_y + int(old_y[u])]:
                        y[u] = old_y[u]
                    elif open_cells[int(old_x[u]) * map_y + int(y[u])]:
                        x[u] = old_x[u]
                    else:
                        x[u], y[u] = old_x[u], old_y[u]
            clock[b] += 1
            counters[b] += np.uint64(U)
        for u in range(U):
            state_task[u, b], state_target[u, b] = task[u], target[u]
            state_flags[0][u, b], state_flags[1][u, b] = alive[u], bursting[u]
        for k in range(11):
            for u in range(U):
                state_floats[k][u, b] = floats[k, u]
        for k in range(7, 10):
            for u in range(U):
                constants[k][u, b] = fixed[k, u]

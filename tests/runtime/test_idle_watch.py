"""Silence is told of, by the clock."""

from __future__ import annotations

from rllib_reborn.runtime.idle_watch import IdleWatch


class Watched:
    def __init__(self) -> None:
        self.now = 0.0
        self.messages: list[str] = []
        self.watch = IdleWatch(self.messages.append, lambda: self.now)

    def silent(self, seconds: int, why: str | None = "1 of 2 alive") -> None:
        for _ in range(seconds):
            self.now += 1
            self.watch.nothing_came(lambda: why)


def test_after_half_a_minute_and_then_every_minute() -> None:
    watched = Watched()
    watched.watch.nothing_came(lambda: "1 of 2 alive")
    watched.silent(29)
    assert watched.messages == []
    watched.silent(1)
    assert watched.messages == ["no episodes for 30 s: 1 of 2 alive"]
    watched.silent(59)
    assert len(watched.messages) == 1
    watched.silent(61)
    assert watched.messages[1:] == ["no episodes for 90 s: 1 of 2 alive", "no episodes for 150 s: 1 of 2 alive"]


def test_the_end_is_told_of_where_the_silence_was() -> None:
    watched = Watched()
    watched.silent(10)
    watched.watch.came()
    watched.silent(35)
    watched.watch.came()
    watched.watch.came()
    assert watched.messages == ["no episodes for 30 s: 1 of 2 alive", "episodes come again, after 34 s"]


def test_slow_games_are_no_reason() -> None:
    watched = Watched()
    watched.silent(200, why=None)
    assert watched.messages == []

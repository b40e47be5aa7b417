"""One process of the game, in which one battle follows another: orders in, units out. What agents see of it and are paid for
is not known here."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.smac.capabilities import Capabilities, draw
from rllib_reborn.envs.smac.options import SmacOptions
from rllib_reborn.envs.smac.scenarios import Scenario
from rllib_reborn.envs.smac.smac_rules import Orders
from rllib_reborn.envs.smac.terrain import Terrain
from rllib_reborn.envs.smac.unit_types import UNIT_TYPES
from rllib_reborn.envs.smac.units import Units
from rllib_reborn.envs.starcraft.commands import commands_of
from rllib_reborn.envs.starcraft.connection import Ask, Asked
from rllib_reborn.envs.starcraft.errors import InstallationError, LaunchError, StarCraftError
from rllib_reborn.envs.starcraft.field import ALLY, ENEMY, UnitReader, terrain_of
from rllib_reborn.envs.starcraft.frames import MAX_MESSAGE
from rllib_reborn.envs.starcraft.installation import HOW_TO_GET_MAPS
from rllib_reborn.envs.starcraft.launch import RunningGame, check_ready, launch
from rllib_reborn.envs.starcraft.launch_slots import launch_slot
from rllib_reborn.envs.starcraft.settings import GameSettings
from rllib_reborn.parsing import ParseError, read_file

logger = logging.getLogger(__name__)

#: Game loops that units may take to appear, or to be gone.
_SPAWN_PATIENCE = 200
_MEGABYTE = 2**20


class Battle:
    """One battle after another in one process of the game, which is started at the first :meth:`begin`.

    Episodes follow each other as in SMAC: all units are killed, and the map's script (SMACv2: we) puts new ones there; so
    what the game itself leaves to chance goes on from episode to episode and is not decided by a seed.

    Args:
        scenario: Who fights whom.
        options: How long a step is, and which skills are drawn.
        settings: How the game is started and looked after.
        units: Where the units are written, beside those of other battles.
        row: Which of ``units`` are this battle's.

    Attributes:
        terrain: The ground; None before the first battle.
        version: What the game says it is; None before it was started.

    Raises (``begin``, ``begin_turn``, ``end_turn``; the game's process is gone then):
        InstallationError: The game cannot be played on this machine.
        StarCraftError: It crashed, hangs or refused something.
    """

    def __init__(
        self, scenario: Scenario, options: SmacOptions, settings: GameSettings, units: Units, row: int = 0
    ) -> None:
        self._scenario, self._options, self._settings = scenario, options, settings
        self._units, self._row = units, row
        self._reader = UnitReader(scenario, units, row)
        self._running: RunningGame | None = None
        self.terrain: Terrain | None = None
        self.version: str | None = None
        #: What the game reported last (``raw_data.units``).
        self._reported: Any = ()
        #: What was asked for the turn that is under way.
        self._asked: Asked = []
        #: Episodes begun in the running process, and ended in all.
        self._episodes_here = self._episodes_ended = 0

    # ------------------------------------------------------------------ playing

    def begin(self, seed: int) -> Capabilities:
        """Begin the next battle, with what is drawn for ``seed``; its units are in ``units`` then."""
        with self._or_gone():
            drawn = draw(self._scenario, self._options, seed)
            if self._running is not None and self._asked:
                self._read_turn()  # of a step that was interrupted between its halves
            if self._running is not None and self._needs_a_new_process():
                self._running.quit()
                self._running = None
            fresh = self._running is None
            if fresh:
                self._launch(seed if self._settings.seed is None else self._settings.seed)
            self._place_units(drawn, fresh=fresh)
            self._episodes_here += 1
            self._reader.begin(self._reported)
            return drawn

    def begin_turn(self, orders: Orders, doomed: npt.NDArray[np.bool_] | None) -> None:
        """Send this battle's orders and let one env step of game loops pass, without waiting for it.

        Args:
            orders: Those of all battles, [B, n].
            doomed: [B, n] units that die ``kill_unit_step_mul`` loops before the end; None: there are no levels of health.
        """
        with self._or_gone():
            assert self._running is not None, "begin comes first"
            connection = self._running.connection
            asks = [connection.ordering(commands_of(orders, self._row, self._reader.tags))]
            asks += self._time_passes(doomed)
            self._asked = connection.begin_turn(*asks, connection.looking())

    def end_turn(self) -> None:
        """Wait until the turn is over; ``units`` are what they are then."""
        with self._or_gone():
            self._read_turn()
            self._reader.update(self._reported)

    def episode_over(self) -> None:
        """An episode has ended; its replay is saved where one is due."""
        self._episodes_ended += 1
        self._save_replay_if_due()

    def close(self) -> None:
        """End the game. May be called twice."""
        running, self._running = self._running, None
        if running is not None:
            running.quit()

    def _time_passes(self, doomed: npt.NDArray[np.bool_] | None) -> list[Ask]:
        assert self._running is not None
        connection, loops = self._running.connection, self._options.step_mul
        if doomed is None:
            return [connection.passing(loops)]
        late = self._options.kill_unit_step_mul
        tags = [self._reader.tags[agent] for agent in np.flatnonzero(doomed[self._row])]
        asks = [connection.passing(loops - late)] if loops > late else []
        asks += [connection.killing(tags)] if tags else []
        return asks + ([connection.passing(late)] if late else [])

    # ------------------------------------------------------------------ the process

    def _launch(self, seed: int) -> None:
        """Start the game and let it load the map."""
        self._asked = []
        scenario, settings = self._scenario, self._settings
        installation = check_ready(settings, scenario.map_file)
        map_file = installation.map_file(scenario.map_file)
        with launch_slot():
            self._running = launch(installation, settings)
            self.version = self._running.version
            connection = self._running.connection
            name = str(map_file.relative_to(installation.root / "Maps"))
            connection.create_game(name, _content(map_file), scenario.enemy_race, settings.difficulty, seed)
            player = connection.join_game(scenario.ally_race)
            if player != ALLY:
                raise LaunchError(f"the game made us player {player}; expected {ALLY}")
        first_ally_id = None
        if scenario.generated is not None:
            # SMACv2's map brings unit types of its own; they are the last ones of the game's list.
            first_ally_id = connection.unit_type_count() - len(scenario.ally_ids)
        self._reader = UnitReader(scenario, self._units, self._row, first_ally_id)
        if self.terrain is None:
            self.terrain = terrain_of(connection.game_info())
        self._episodes_here = 0
        self._turn()

    def _needs_a_new_process(self) -> bool:
        """Between two episodes: has this process played its share, or grown too large?"""
        assert self._running is not None
        every, most = self._settings.restart_every, self._settings.max_rss_mb
        if every is not None and self._episodes_here >= every:
            logger.info("%s: the game is restarted after %d episodes.", self._scenario.name, self._episodes_here)
            return True
        size = self._running.process.rss_bytes() / _MEGABYTE
        if most is not None and size > most:
            logger.warning(
                "%s: the game is restarted after %d episodes: it takes %.0f MB, more than max_rss_mb=%g.",
                self._scenario.name,
                self._episodes_here,
                size,
                most,
            )
            return True
        # A game that has come to its end (it has a limit of its own) plays no further battle.
        return self._running.connection.status != "in_game"

    @contextlib.contextmanager
    def _or_gone(self) -> Iterator[None]:
        """Whatever goes wrong in here ends the game's process, since nobody knows what it is doing then; errors of the game
        are raised with its last words."""
        try:
            yield
        except BaseException as error:
            running, self._running = self._running, None
            self._asked = []
            if running is None:
                raise
            try:
                if isinstance(error, StarCraftError):
                    raise running.explain(error) from error
                raise
            finally:
                running.kill()

    # ------------------------------------------------------------------ units

    def _turn(self, *asks: Ask) -> None:
        """Ask for these things, and look."""
        assert self._running is not None
        connection = self._running.connection
        self._reported = connection.turn(*asks, connection.looking()).observation.raw_data.units

    def _read_turn(self) -> None:
        """Wait for what was asked, which ends with a look."""
        asked, self._asked = self._asked, []
        assert self._running is not None
        self._reported = self._running.connection.end_turn(asked).observation.raw_data.units

    def _place_units(self, drawn: Capabilities, *, fresh: bool) -> None:
        """Take away the units of the last battle, and see to it that those of the next one stand there."""
        assert self._running is not None
        connection, scenario = self._running.connection, self._scenario
        generated = scenario.generated is not None
        standing = self._standing()
        leftovers = bool(standing) if generated else not fresh
        if leftovers:
            kill = [connection.killing(standing)] if standing else []
            # On SMAC's maps a script sees then that nobody is left, and starts again.
            self._turn(*kill, connection.passing(2))
        if generated:
            self._wait(lambda: not self._standing(), loops=2, what="the units of the last battle to be gone")
            self._turn(
                connection.creating(self._created(ALLY, drawn.ally_kinds, drawn.ally_xy)),
                connection.creating(self._created(ENEMY, drawn.enemy_kinds, drawn.enemy_xy)),
                connection.passing(1),
            )
        self._wait(
            lambda: self._reader.everyone_is_there(self._reported),
            loops=1,
            what=f"the {scenario.n_agents} + {scenario.n_enemies} units of {scenario.name} to be there",
        )

    def _wait(self, condition: Callable[[], bool], loops: int, what: str) -> None:
        """Let the game go on until ``condition()``."""
        assert self._running is not None
        for _ in range(0, _SPAWN_PATIENCE, loops):
            if condition():
                return
            self._turn(self._running.connection.passing(loops))
        if not condition():
            raise StarCraftError(
                f"waited {_SPAWN_PATIENCE} game loops for {what}; there are {len(self._reported)} units"
            )

    def _standing(self) -> list[int]:
        """Tags of the units of both sides that were reported last."""
        return [unit.tag for unit in self._reported if unit.owner in (ALLY, ENEMY)]

    def _created(
        self, owner: int, kinds: npt.NDArray[np.int64], places: npt.NDArray[np.float32]
    ) -> list[tuple[int, int, float, float]]:
        names = [UNIT_TYPES[kind].name for kind in kinds]
        if owner == ALLY:
            assert self._reader.first_ally_id is not None
            ids = [self._reader.first_ally_id + self._scenario.ally_ids.index(name) for name in names]
        else:
            ids = [UNIT_TYPES[kind].type_id for kind in kinds]
        return [(number, owner, float(x), float(y)) for number, (x, y) in zip(ids, places)]

    # ------------------------------------------------------------------ what remains

    def _save_replay_if_due(self) -> None:
        folder, every = self._settings.replay_dir, self._settings.save_replay_every
        if folder is None or self._running is None or self._episodes_ended % every:
            return
        moment = time.strftime("%Y%m%d-%H%M%S")
        name = f"{self._scenario.name}_{moment}_{self._running.process.port}_{self._episodes_ended:06d}.SC2Replay"
        path = Path(folder).expanduser() / name
        # The episode is over and was played well. Where the game fails now, the next one begins in a new process.
        try:
            with self._or_gone():
                replay = self._running.connection.save_replay()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(replay)
        except (OSError, StarCraftError) as error:
            logger.warning("The replay %s could not be saved: %s", path, error)


def _content(map_file: Path) -> bytes:
    """The map as it is sent to the game.

    Raises:
        InstallationError: It cannot be read, or is larger than a message may be.
    """
    try:
        return read_file(map_file, MAX_MESSAGE)
    except (ParseError, FileNotFoundError) as error:
        raise InstallationError(f"the map {map_file} {error}", HOW_TO_GET_MAPS) from None

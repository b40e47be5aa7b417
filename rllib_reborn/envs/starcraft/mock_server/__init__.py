"""A server that speaks the protocol of StarCraft II, driven by the simulator of ``envs/battle``. It is no StarCraft II:
it is there to test and debug what talks to the game, where the game is absent. Numbers obtained on it say nothing about
the game, and :data:`GAME_VERSION`, which it gives as its version, is what they are known by.
"""

#: What ``ResponsePing.game_version`` says.
GAME_VERSION = "mock_server"

#: The build whose place the server takes by default: 4.10, the newest that Blizzard offers for Linux.
BUILD = 75689

#: The first line of whatever starts this server.
NOTICE = "This is no StarCraft II: it is rllib_reborn's mock server, which runs the battle simulator."

"""``python -m rllib_reborn.envs.starcraft.mock_server -listen 127.0.0.1 -port 5000``: what a mock installation starts in
the place of the game."""

import sys

from rllib_reborn.envs.starcraft.mock_server.server import main

sys.exit(main())

"""``python -m rllib_reborn.envs.starcraft.loopback -listen 127.0.0.1 -port 5000``: what a loopback installation starts in
the place of the game."""

import sys

from rllib_reborn.envs.starcraft.loopback.server import main

sys.exit(main())

"""``python -m rllib_reborn`` is the command line."""

import sys

from rllib_reborn.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

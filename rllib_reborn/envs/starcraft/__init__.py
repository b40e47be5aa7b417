"""StarCraft II itself: finding, starting and speaking to the game. Nothing here is imported before a game is asked for, and
the packages of the extra ``starcraft`` are imported only when one is started."""

"""How games are played and by whom: env runners, what a training loop asks of them, and what Ray keeps private."""

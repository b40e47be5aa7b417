"""QMIX beside EPyMARL: the same task, the same settings, the same machine, in turn, in the same run.

``python -m benchmarks.peers --epymarl PATH --python PYTHON`` plays level-based foraging, particle worlds and the warehouse
by EPyMARL's ``qmix.yaml`` (``use_rnn=True``) on both sides and prints three rows for each task as JSON lines, then a table:

- ``update``: one update of 32 episodes, drawing the batch included;
- ``sampling``: one env step without learning;
- ``end_to_end``: one env step of training, an update for each episode: EPyMARL by its own ``main.py``, ours by
  ``algo.train()``. The CPU clock is read at two ends of episodes of one run: the difference of a short and a long run
  with equal seeds, without what starting costs. It is read at 2,500 and 10,000 env steps, on the warehouse, where 32
  episodes are 16,000 env steps, at 17,500 and 25,000; ours at the next ends of ``train()`` calls.

All numbers are CPU seconds of the process that plays and learns, all its threads (one thread computes); ``ratio`` is ours /
EPyMARL's: the median over pairs, with the bounds of its 95% bootstrap interval. Ours are the shipped experiments
(:data:`tasks.TASKS`; 16 games side by side) with the settings of :data:`tasks.SETTINGS`; EPyMARL plays one game, as its
episode runner does. Its greedy test episodes are left away, but for one before the first reading; so are ours.

EPyMARL is not part of this project. To make its environment (Python 3.9 to 3.11; tested with 3.11 and commit cbc38c0)::

    git clone https://github.com/uoe-agents/epymarl
    python3.11 -m venv epymarl/.venv
    epymarl/.venv/bin/pip install torch --index-url https://download.pytorch.org/whl/cpu
    epymarl/.venv/bin/pip install sacred pyyaml gymnasium lbforaging rware "pettingzoo[mpe]==1.25.0"
    python -m benchmarks.peers --epymarl epymarl --python epymarl/.venv/bin/python

smaclite, which EPyMARL imports whatever it plays, is not needed, nor is anything else of its requirements.txt. Give both
sides the same torch, since a ratio should compare two programs: the rows say which versions ran.
"""

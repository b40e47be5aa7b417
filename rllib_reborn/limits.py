"""Every limit of a wait for another process, a game or a file that is no setting of its own, in seconds, in one place.

``docs/reliability.md`` has the table: who waits for whom, how long at most, and what comes then.
"""

from __future__ import annotations

#: A process answers what is neither sampling, nor evaluating, nor learning: weights, states, building an environment again.
#: Default of ``answer_timeout_s``.
ANSWER_S = 120.0
#: A learner answers: an update, its state, its part of a checkpoint. Default of ``learner_timeout_s``.
LEARNER_S = 600.0
#: Runners sample, and evaluate. Defaults of ``sample_timeout_s`` and ``evaluation_sample_timeout_s``.
SAMPLE_S, EVALUATION_S = 600.0, 600.0
#: Somebody listens at the address of the user's Ray cluster.
CLUSTER_S = 5.0
#: The process that had a run of a sweep before lets go of its folder.
FOLDER_S = 120.0
#: Processes close their games at the end, before they are ended.
STOP_S = 5.0

#: A game in a process or on a thread of its own answers any call, where ``step_timeout_s`` is not given.
GAME_STEP_S = 600.0
#: Where it is: whatever is not a step (a reset may start a program) may take so many times as long as one.
SLOW_CALL_FACTOR = 10
#: A child process of games is up (Python started, modules imported), whatever the load.
GAME_PROCESS_START_S = 120.0
#: Games close, before their processes are ended or their threads left alone.
CLOSE_GAMES_S = 10.0

#: The server of a tracker answers when a run begins; and it takes what is left when the run ends.
TRACKER_START_S, TRACKER_CLOSE_S = 30.0, 60.0

#: From the second SIGINT, SIGTERM or SIGHUP to the end, whatever hangs.
SECOND_SIGNAL_S = 8.0

#: Standing still is said after so long, and then again and again.
FIRST_LINE_S, NEXT_LINE_S = 30.0, 60.0
#: How often it is looked whether anything moves.
LOOK_EVERY_S = 2.0

#: Processes of a group may be lost so often, each, without any answer in between.
MOST_LOSSES_IN_ROW = 3

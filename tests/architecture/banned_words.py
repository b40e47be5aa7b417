"""The words that may not return, and what to write instead (docs/architecture.md, section on names).

Data for ``test_words.py``. Kinds (see ``words.py``):

- ``NAME``: the whole of an identifier in Python code.
- ``LITERAL``: the whole of a string in Python code.
- ``TEXT``: anywhere in any file, code, comments and prose; a space in the pattern matches line ends and ``#`` too.
- ``PATH``: in the path of a file below the project.

Everyday words are banned only where they are names of something of ours: ``seen`` as a variable, not in a sentence; ``unit``
(``clock_units``) stays the clock of a schedule and what StarCraft moves; ``live`` stays for displays,
``probe`` a command, a verb and a Protoss worker.
"""

from __future__ import annotations

from tests.architecture.words import LITERAL, NAME, PATH, TEXT, Word

#: Where neurons are at home and StarCraft's units are not.
_NEURONS = (
    "rllib_reborn/plasticity/",
    "rllib_reborn/callbacks/",
    "rllib_reborn/nets/",
    "rllib_reborn/algorithms/",
    "rllib_reborn/studies/",
    "tests/plasticity/",
    "tests/callbacks/",
    "tests/nets/",
    "benchmarks/plasticity.py",
    "examples/plasticity_on_any_module.py",
)
_NEURON_TEXTS = (
    "rllib_reborn/plasticity/",
    "rllib_reborn/callbacks/",
    "rllib_reborn/nets/",
    "docs/plasticity.md",
    "docs/invariance.md",
)
_STARCRAFT = ("rllib_reborn/envs/", "tests/envs/", "docs/battle.md", "docs/starcraft.md", "docs/results/battle.md")
_PLASTICITY = (
    "rllib_reborn/plasticity/",
    "rllib_reborn/callbacks/",
    "rllib_reborn/nets/",
    "tests/plasticity/",
    "tests/callbacks/",
)
_TRAINING = (
    "rllib_reborn/algorithms/",
    "rllib_reborn/runtime/",
    "rllib_reborn/studies/",
    "rllib_reborn/experiments/",
    "rllib_reborn/cli/",
)
#: These files map the words of the commit that is compared with (a0b914c) to today's, so they hold both.
_OLD_WORDS = ("benchmarks/before_after/words.py", "tests/benchmarks/test_before_after.py")
_ADAPTERS = ("rllib_reborn/envs/adapters/", "tests/envs/adapters/")
_SMAC = ("rllib_reborn/envs/smac/", "tests/envs/smac/")

WORDS = (
    # ------------------------------------------------------------------------------------------------------- neurons
    Word(
        NAME,
        r"UnitLayer|UnitEdit|SilentUnits|DeclaresUnits|(target_)?unit_layers|(declare|discover|edit|drops|mixer|silent)_units"
        r"|fresh_units_edit|(control_)?units_touched|per_unit|unit_dim",
        "neuron, NeuronLayer, NeuronEdit, DormantNeurons, neurons_touched ...",
    ),
    Word(NAME, r"(?!test_|clock_)(\w*_)?units(_\w+)?", "neurons", where=_NEURONS),
    Word(TEXT, r"\bunits\b", "neurons", where=_NEURON_TEXTS),
    Word(
        TEXT,
        r"\b([Dd]ormant|[Oo]ver-?active|[Dd]ead|[Hh]idden|[Rr]ecycled|[Ss]tagnant|[Ss]ilent) units?\b",
        "... neurons",
        unless=_STARCRAFT,
    ),
    Word(TEXT, r"\bintervention/units\b|\bunits_touched\b", "intervention/neurons, neurons_touched", unless=_OLD_WORDS),
    Word(PATH, r"plasticity/units\.py|(silent|dormant)_units", "neuron_layers.py, dormant_neurons"),
    # ------------------------------------------------------------------------------------------------ official code
    Word(LITERAL, r"released", "official_code", unless=_OLD_WORDS),
    Word(NAME, r"(\w*_)?released(_\w+)?", "official_code"),
    Word(
        TEXT,
        r"\breleased ([A-Z]\w+ )?(code|rule|layers?|list|settings)\b|reborn_released"
        r"|\b(rule|layers|compat)[:=] ?[\"'`]*released\b"
        r"|[\"'`]released[\"'`]",
        "official code, official_code",
        unless=_OLD_WORDS,
    ),
    # -------------------------------------------------------------------------------------------------- interventions
    Word(
        TEXT,
        r"\btargets[:=] ?[\"'`]*(mirror|keep|none)\b|\b(self|intervention|settings)\.targets\b|\btargets: TargetPolicy",
        "target_networks",
        where=(
            "rllib_reborn/plasticity/",
            "rllib_reborn/callbacks/",
            "configs/",
            "docs/",
            "examples/",
            "tests/plasticity/",
        ),
    ),
    # The package exports a function of that name.
    Word(LITERAL, r"nas", "activation", unless=("rllib_reborn/plasticity/__init__.py", *_OLD_WORDS)),
    Word(TEXT, r"\bscore[:=] ?[\"'`]*nas\b", "score: activation"),
    Word(NAME, r"Subject|(\w*_)?subject", "ModelView, model_view"),
    Word(NAME, r"_?perform|perform_once", "apply_intervention"),
    Word(NAME, r"_?Tap|_?taps?", "ActivationHook, hook"),
    Word(TEXT, r"\btaps?\b", "activation hook", where=_NEURON_TEXTS),
    Word(TEXT, r"operable", "editable", unless=_OLD_WORDS),
    Word(NAME, r"(\w*_)?live(_mask)?", "active", where=_PLASTICITY),
    Word(LITERAL, r"(column_)?live", "active", where=_PLASTICITY),
    Word(TEXT, r"\bnon-live\b|\blive (neurons?|units?|layers?)\b", "active neurons"),
    Word(PATH, r"interventions/perform\.py|team_subject|tests/plasticity/test_perform\.py", "apply.py, team_view.py"),
    # ------------------------------------------------------------------------------------ algorithms and their loop
    Word(
        TEXT,
        r"\btraining\([^()]*\bmethod=|[(,] ?method=(\{|dict\()|(?m:^ +method:(?= *$| *\{| *#))",
        "algorithm_settings",
    ),
    Word(NAME, r"method_settings|parse_method|_?method_settings_\w+", "algorithm_settings"),
    Word(NAME, r"[Rr]ehears\w*", "preflight check"),
    Word(TEXT, r"\b[Rr]ehears(e|es|ed|al|als|ing)\b", "preflight check"),
    Word(NAME, r"Prober?|prober|probing|probe_rng|with_probe", "PlasticityScheduler, PlasticityRequest"),
    Word(TEXT, r"\bprobing\b", "plasticity scheduler, what is due"),
    Word(NAME, r"scoring|held|held_\w+|_?HELD_\w+", "scoring_batch, holdout_batch", where=_NEURONS),
    # The scheduler hashes the label into the seed of a draw: another word would draw other episodes.
    Word(LITERAL, r"held", "holdout", where=_NEURONS, unless=("rllib_reborn/callbacks/scheduler.py",)),
    Word(PATH, r"/(probing|rehearsal)\.py|callbacks/probe\.py", "plasticity_scheduler.py, preflight"),
    Word(NAME, r"_?(told|seen|said)", "metrics, obs, outputs (or what it holds)"),
    Word(NAME, r"Team", "TrainedPolicy"),
    Word(NAME, r"play_greedy|play_for_driver", "evaluate_greedy, evaluate_remote"),
    Word(NAME, r"play", "evaluate", where=_TRAINING),
    Word(NAME, r"send_weights|push_weights(_to)?|force_weights", "sync_weights(wait=, force=)"),
    Word(NAME, r"Progress|metrics_row|checkpoint_parts", "TrainingCounters, metrics, checkpoint_components"),
    Word(
        PATH,
        r"value_factorization/(play|metrics_row|checkpoint_parts)\.py",
        "trained_policy, metrics, checkpoint_components",
    ),
    # ---------------------------------------------------------------------------------------------------- environments
    Word(
        NAME,
        r"lift|_?(make_)?lifted(_\w+)?|Lifted\w*|\w*Crew(ed\w*)?|_?(make_)?crew(ed_env)?|Games|GamesOnThreads|GamesInProcesses",
        "vectorize, VectorizedTeamEnv, GameExecutor, SerialExecutor, ThreadExecutor, ProcessExecutor",
    ),
    Word(TEXT, r"\blift/|\benvs[./]lift\b|\bcrewed\b|\bcrews?\b|\blifted (env|game|team)", "vectorize/, executor"),
    Word(PATH, r"envs/lift/|test_lift\b|crew", "vectorize/, executor"),
    Word(NAME, r"Members|NamedGame|named_game", "AgentLayout, GameSpec"),
    Word(NAME, r"members|sides", "agent_layout, team_selection", where=_ADAPTERS),
    Word(PATH, r"adapters/(members|sides|named_game)\.py", "agent_layout.py, team_selection.py, game_spec.py"),
    Word(
        NAME,
        r"_?(Referee|referee|Tally|tally|Books|books|Scene|scene|Spotting|spotting|Cone|cone|Roster|roster|Arena|arenas?)"
        r"|arena_of|\w+_cone|Ground",
        "SmacRules, RewardTracker, EpisodeState, ObservationContext, Visibility, FieldOfView, UnitSlots, Terrain, MapBounds",
    ),
    Word(NAME, r"_?ground", "terrain", where=_SMAC),
    Word(
        TEXT,
        r"\b[Rr]eferee|\b[Tt]ally\b|\b[Ss]potting\b|\b[Rr]oster\b",
        "rules, reward tracker, visibility, unit slots",
    ),
    Word(
        PATH,
        r"(smac|battle)/(test_)?(referee|tally|books|scene|spotting|cone|roster|ground|arenas?|strikes|separation|quirks)\b",
        "smac_rules.py, reward_tracker.py, attacks.py, collisions.py, compat.py ...",
    ),
    Word(NAME, r"strikes?|_?[Ss]eparation", "attacks, collisions"),
    Word(NAME, r"_?[Qq]uirks|_?QUIRKS|quirks_of|suite_quirks", "compat"),
    Word(TEXT, r"\b[Qq]uirks?\b", "compat, what the original does"),
    Word(PATH, r"quirks", "compat"),
    Word(NAME, r"(?i:\w*loopback\w*)", "mock_server"),
    Word(TEXT, r"\b[Ll]oopback\b(?! (address|interface|device))", "mock server, sc2-mock-server"),
    Word(PATH, r"loopback", "mock_server"),
    Word(NAME, r"starts_programs", "launches_external_process"),
    # --------------------------------------------------------------------------------------------- experiments and CLI
    Word(NAME, r"(\w*_)?booking", "resource_request"),
    Word(NAME, r"UserMistake", "UsageError"),
    Word(NAME, r"mended|MEND_\w+|mend_\w+|mend", "fixed, fix"),
    Word(TEXT, r"\b[Mm]end(s|ed|ing)?\b", "fix"),
    Word(TEXT, r"\bexperiments[./]library\b", "shipped_configs"),
    Word(PATH, r"experiments/library\.py", "shipped_configs.py"),
    Word(TEXT, r"\b[Tt]he house\b|\b[Rr]ooms\b|\b([Tt]his|[Ww]hich) room\b|\| room \|", "package, packages"),
    # -------------------------------------------------------------------------------------------------------- phrases
    Word(TEXT, r"\b[Mm]ethod reference\b", "the paper's section and equation, or docs/method.md"),
    Word(TEXT, r"\bthe issue\b", "what it asks for, in words of the repository"),
    Word(TEXT, r"\bplayed for ever\b", "never terminates"),
    Word(TEXT, r"\b(units|neurons) that never (said|fired)", "dead ReLU"),
    Word(TEXT, r"\bstarts? anew, silent", "re-initialised, outgoing weights 0"),
    Word(TEXT, r"\bwho is greedy\b", "the online network picks the action"),
)

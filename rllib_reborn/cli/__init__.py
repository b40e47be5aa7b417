"""The command line: ``rllib-reborn`` and ``python -m rllib_reborn``. One file per command, each parsing,
calling and printing; the work is done elsewhere.
"""

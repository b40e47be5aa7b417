"""Lets others watch a run: whoever listens to one, and what they do with its rows."""

from rllib_reborn.monitoring.listeners import RunFacts, RunListener, RunListeners

__all__ = ["RunFacts", "RunListener", "RunListeners"]

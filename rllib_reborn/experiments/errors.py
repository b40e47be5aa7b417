"""The one error of this package that is the user's to fix."""

from __future__ import annotations


class ExperimentError(ValueError):
    """An experiment cannot be read, is not valid or cannot be run; the message is a sentence for the user."""

"""The one error of this package."""

from __future__ import annotations


class PolicyError(ValueError):
    """A policy's files are missing, damaged or foreign, or what it was given cannot be used; one sentence for the user."""

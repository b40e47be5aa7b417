"""Tries this package on another Ray: ``make canary RAY=2.58.1`` (docs/compatibility.md)."""

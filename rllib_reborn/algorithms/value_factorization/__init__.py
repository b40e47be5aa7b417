"""The training path shared by all value factorization algorithms; see ``docs/architecture.md``."""

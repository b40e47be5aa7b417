"""The fixtures of :mod:`tests.cluster.clusters`."""

from tests.cluster.clusters import token_cluster

__all__ = ["token_cluster"]

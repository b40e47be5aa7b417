"""Which Pythons and Rays this package was tested on; what ``doctor``, classifiers, the Makefile and docs/compatibility.md
say is held to be these by ``tests/test_tested_versions.py``."""

#: Each has a lock in ``constraints/``.
PYTHONS = ("3.11", "3.12", "3.13")

#: Those of them that the fast tests of this state passed on; docs/compatibility.md has what else was run.
TESTED_PYTHONS = ("3.11", "3.12", "3.13")

#: ``setup.cfg`` asks for a Ray from the first of these on and before the second.
RAY_FROM, RAY_BEFORE = "2.58.1", "2.61"

#: Releases of Ray that the whole of ``make test`` passed on; the locks have one of them.
RAYS = ("2.60.0",)

#: Releases that a named subset of the tests passed on (``make canary RAY=...``).
CANARY_RAYS = ("2.58.1", "2.59.0", "2.60.0")

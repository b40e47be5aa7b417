"""Which Pythons and Rays this package was tested on; what ``doctor``, classifiers, the Makefile and docs/compatibility.md
say is held to be these by ``tests/test_tested_versions.py``."""

#: Each has a lock in ``constraints/``.
PYTHONS = ("3.11", "3.12", "3.13")

#: Those of them that the fast tests of this state passed on; docs/compatibility.md has what else was run.
TESTED_PYTHONS = ("3.11", "3.12", "3.13")

#: The release series of Ray that ``setup.cfg`` asks for.
RAY = "2.60"

#: Releases of Ray that the whole of ``make test`` passed on.
RAYS = ("2.60.0",)

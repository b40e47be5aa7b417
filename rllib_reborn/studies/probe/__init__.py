"""How fast a net fits new targets, beside treated and fresh ones: a measure of plasticity itself."""

from rllib_reborn.studies.probe.study import ProbeResult, ProbeSettings, ProbeStudy, probe

__all__ = ["ProbeResult", "ProbeSettings", "ProbeStudy", "probe"]

"""Plasticity: which neurons still work, and what can be done about those that do not. Torch only; any ``nn.Module``.

Measure (never writes a weight): :mod:`units`, :mod:`discovery`, :mod:`statistics`, :mod:`scores`, :mod:`masks`,
:mod:`history`. Act (all writes to weights): :mod:`interventions`. Prove: :mod:`invariance`.
"""

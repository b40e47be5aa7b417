"""A trained team as plain torch, tensors and JSON: what goes to a robot or a server. No Ray, no pickle.

A checkpoint becomes one by ``rllib-reborn export CHECKPOINT --out FOLDER``.
"""

from rllib_reborn.policy.errors import PolicyError
from rllib_reborn.policy.policy import Policy, PolicyState
from rllib_reborn.policy.spec import PolicySpec
from rllib_reborn.policy.to_onnx.file import onnx_bytes

__all__ = ["Policy", "PolicyError", "PolicySpec", "PolicyState", "onnx_bytes"]

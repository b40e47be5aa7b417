"""A policy as the bytes of an ONNX file that was compared with it."""

from __future__ import annotations

from collections.abc import Sequence

from rllib_reborn.policy.files import weights_sha256
from rllib_reborn.policy.policy import Policy
from rllib_reborn.policy.to_onnx.check import Observed, check_onnx
from rllib_reborn.policy.to_onnx.model import onnx_model


def onnx_bytes(policy: Policy, played: Sequence[Observed] = ()) -> bytes:
    """One step of a policy as an ONNX file, compared with the policy by onnxruntime (docs/portable_policy.md).

    Args:
        policy: The policy; ``policy.save(path, beside={"policy.onnx": onnx_bytes(policy)})`` writes both.
        played: Observations and masks to compare it on, beside made-up ones.

    Raises:
        PolicyError: onnx or onnxruntime is missing, an encoder of one's own cannot be traced, or file and policy do not
            compute the same.
    """
    data = onnx_model(policy.spec, policy.networks, weights_sha256(policy.weights()))
    check_onnx(policy, data, played)
    return data

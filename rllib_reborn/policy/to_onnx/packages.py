"""The packages that ONNX files need: imported when they are used, and missed in one sentence."""

from __future__ import annotations

import importlib
from typing import Any

from rllib_reborn.policy.errors import PolicyError

#: What every ONNX file needs: one to write it, one to check it.
PACKAGES = ("onnx", "onnxruntime")
#: What torch needs to trace an encoder of somebody's own.
TRACING = "onnxscript"


def package(name: str, purpose: str = "an ONNX file") -> Any:
    """The module of a package.

    Raises:
        PolicyError: It is not installed, or fails where it is imported.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise PolicyError(
            f'{purpose} needs the package {error.name or name}, which is not installed; pip install "rllib-reborn[onnx]".'
        ) from None
    except Exception as error:  # its compiled parts can fail in many ways
        raise PolicyError(
            f"{purpose} needs the package {name}, which fails where it is imported ({type(error).__name__}: {error}); pip "
            'install --force-reinstall "rllib-reborn[onnx]".'
        ) from error


def require_packages() -> None:
    """Raise PolicyError unless what every ONNX file needs can be imported."""
    for name in PACKAGES:
        package(name)

"""The algorithms. Importing this registers them with Tune by name (``tune.Tuner("QMIX", ...)``)."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rllib_reborn.algorithm_names import ALGORITHM_NAMES
from rllib_reborn.algorithms.value_factorization.config import ValueFactorizationConfig, algorithm_class_of
from rllib_reborn.algorithms.value_factorization.value_factorization import ValueFactorization
from rllib_reborn.named_modules import BrokenModuleError, NoSuchModuleError, import_named
from rllib_reborn.runtime import ray_internals
from rllib_reborn.suggestions import did_you_mean

if TYPE_CHECKING:
    from rllib_reborn.algorithms.dmix import DMIX, DMIXConfig
    from rllib_reborn.algorithms.iql import IQL, IQLConfig
    from rllib_reborn.algorithms.qmix import QMIX, QMIXConfig
    from rllib_reborn.algorithms.qplex import QPLEX, QPLEXConfig
    from rllib_reborn.algorithms.resq import ResQ, ResQConfig
    from rllib_reborn.algorithms.rmix import RMIX, RMIXConfig
    from rllib_reborn.algorithms.vdn import VDN, VDNConfig
    from rllib_reborn.algorithms.wqmix import WQMIX, WQMIXConfig


class _Algorithms(Mapping[str, type[ValueFactorizationConfig]]):
    """Name to config class, imported when it is first asked for."""

    def __getitem__(self, name: str) -> type[ValueFactorizationConfig]:
        if name not in ALGORITHM_NAMES:
            raise KeyError(name)
        return _import_config(f"{_module_of(name)}:{name}Config")

    def __iter__(self) -> Iterator[str]:
        return iter(ALGORITHM_NAMES)

    def __len__(self) -> int:
        return len(ALGORITHM_NAMES)


#: The one table of algorithms: name to config class.
ALGORITHMS: Mapping[str, type[ValueFactorizationConfig]] = _Algorithms()


def algorithm_config_class(name: str) -> type[ValueFactorizationConfig]:
    """The config class of an algorithm.

    Args:
        name: A name of :data:`ALGORITHMS` (capitals do not matter), or ``module:Class`` of a config of one's own.

    Raises:
        ValueError: There is none of this name, or the class is no :class:`ValueFactorizationConfig` of an algorithm.
    """
    if ":" in name:
        return _import_config(name)
    found = {known.lower(): known for known in ALGORITHMS}.get(name.lower())
    if found is None:
        raise ValueError(f"unknown algorithm {name!r}.{did_you_mean(name, ALGORITHMS)}")
    return ALGORITHMS[found]


def _import_config(path: str) -> type[ValueFactorizationConfig]:
    module, _, name = path.partition(":")
    try:
        found: Any = import_named(module)
    except NoSuchModuleError as error:
        raise ValueError(
            f"algorithm {path!r}: there is no module {error.missing!r}; it must lie beside your script or in the folder of "
            "the command line, be installed, or be in a folder that PYTHONPATH names."
        ) from None
    except BrokenModuleError as error:
        raise ValueError(f"algorithm {path!r}: {error}.") from error
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type) or not issubclass(found, ValueFactorizationConfig) or not found.algorithm_name:
        raise ValueError(
            f"algorithm {path!r} is {found!r}; expected a subclass of ValueFactorizationConfig with an algorithm_name."
        )
    return found


def __getattr__(name: str) -> Any:
    algorithm = name.removesuffix("Config")
    if algorithm not in ALGORITHM_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_module_of(algorithm)), name)


def _module_of(algorithm: str) -> str:
    return f"{__name__}.{algorithm.lower()}"


for _name in ALGORITHMS:
    ray_internals.register_algorithm(_name, algorithm_class_of(ALGORITHMS[_name]))

__all__ = [
    "ALGORITHMS",
    "DMIX",
    "IQL",
    "QMIX",
    "QPLEX",
    "RMIX",
    "VDN",
    "WQMIX",
    "DMIXConfig",
    "IQLConfig",
    "QMIXConfig",
    "QPLEXConfig",
    "RMIXConfig",
    "ResQ",
    "ResQConfig",
    "VDNConfig",
    "ValueFactorization",
    "ValueFactorizationConfig",
    "WQMIXConfig",
    "algorithm_config_class",
]

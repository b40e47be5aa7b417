"""What setup.cfg cannot say: the folder configs/ is installed as rllib_reborn/configs."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["rllib_reborn", "rllib_reborn.*"]), "rllib_reborn.configs"],
    package_dir={"rllib_reborn.configs": "configs"},
    package_data={"rllib_reborn": ["py.typed"], "rllib_reborn.configs": ["**/*.yaml"]},
)

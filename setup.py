"""What setup.cfg cannot say: configs/ and tune_experiments/ are installed below rllib_reborn/."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["rllib_reborn", "rllib_reborn.*"]),
        "rllib_reborn.configs",
        "rllib_reborn.tune_experiments",
    ],
    package_dir={"rllib_reborn.configs": "configs", "rllib_reborn.tune_experiments": "tune_experiments"},
    package_data={
        "rllib_reborn": ["py.typed"],
        "rllib_reborn.evaluation.page": ["*.html", "*.css", "*.js"],
        "rllib_reborn.configs": ["**/*.yaml"],
        "rllib_reborn.tune_experiments": ["**/*.yaml", "README.md"],
    },
)

"""Experiments as data: YAML files, their schema, and running one into a run folder.

The layers, each using only those before it: ``errors``, ``yaml_text``, ``shipped_configs`` (where the files are),
``experiment_name`` (what a name means), ``layers``, ``composition`` (files and names to merged data), ``schema``, ``load``
(a validated experiment), ``build`` (RLlib's config), ``preflight`` (the checks before training), ``run`` (a finished run
folder).
"""

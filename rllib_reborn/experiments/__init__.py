"""Experiments as data: YAML files, their schema, and running one into a run folder.

The layers, each using only those before it: ``errors``, ``yaml_text``, ``library`` (where files are),
``schema``, ``load`` (a validated experiment), ``build`` (RLlib's config), ``run`` (a finished run folder).
"""

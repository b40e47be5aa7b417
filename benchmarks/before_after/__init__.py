"""The work tree beside another commit, on one machine in one run: does a rebuilding change numbers, speed or reading length?

Run from the root of the repository, with its virtual environment (``--ref``: the commit before, ``a0b914c`` if not given;
``--help`` says the rest):

- ``python -m benchmarks.before_after.checkout``: makes the checkout and shows that each tree imports its own package;
- ``python -m benchmarks.before_after.traces [--only NAME] [--list]``: golden traces, metrics rows and plasticity events
  compared to the bit, about 3 seconds a scenario and tree; exit 1 on any difference;
- ``python -m benchmarks.before_after.timings --pairs 7``: the benchmarks in interleaved pairs; exit 1 where the work tree is
  slower;
- ``python -m benchmarks.before_after.turns``: all of them in some ten minutes, with a living process of each tree that take
  turns;
- ``python -m benchmarks.before_after.update_path``: the files and lines that one QMIX update runs through.

How it works: :mod:`.checkout` unpacks the other commit into a cache folder outside the repository and gives each tree a
virtual environment of its own. :mod:`.in_tree` is the one script that each tree's own python runs; it asks the tree which
words of :mod:`.words` it knows and translates settings and results, so that both answer in the words of the work tree.
"""

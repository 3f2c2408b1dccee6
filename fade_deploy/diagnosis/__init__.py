"""Whether this machine can export and run: every row of fade-doctor is what a real run showed.

A probe that could crash or hang runs in a process of its own: ``probe`` and the ``probe_*`` modules are that process,
``child`` starts it, the ``*_rows`` modules judge what it told.
"""

"""The window, the controls and the command line. Objects are wired together here, and nowhere else."""

import os

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # a report on standard output must be JSON alone
# Before torch is loaded: how often its threads look whether the others are done before they sleep. By default for so
# long (16 ms) that, beside a program that keeps a core busy, most of a training step is waiting.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

"""The window, the controls and the command line. Objects are wired together here, and nowhere else."""

import os

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # a report on standard output must be JSON alone
# Before torch is loaded: how often its threads look whether the others are done before they sleep. By default for so
# long that a training step takes 1.8 times as long beside a program that keeps a core busy.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

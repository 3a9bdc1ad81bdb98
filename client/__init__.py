"""The window, the controls and the command line. Objects are wired together here, and nowhere else."""

import os

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # a report on standard output must be JSON alone

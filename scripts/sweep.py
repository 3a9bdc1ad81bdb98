"""Scores a grid of sampling settings: the same as `worldmodel sweep`.

python scripts/sweep.py --help
"""

import sys

from client.script import script

if __name__ == "__main__":
    sys.exit(script("sweep"))

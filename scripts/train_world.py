"""Trains a world model: the same as `worldmodel train world`.

python scripts/train_world.py --help
"""

import sys

from client.script import script

if __name__ == "__main__":
    sys.exit(script("train", "world"))

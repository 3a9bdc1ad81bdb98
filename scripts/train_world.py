"""Trains a world model: the same as `worldmodel train world`.

python scripts/train_world.py --help
"""

import sys

from client.making import script

if __name__ == "__main__":
    sys.exit(script("train", "world"))

"""Trains an inverse dynamics model: the same as `worldmodel train idm`.

python scripts/train_idm.py --help
"""

import sys

from client.script import script

if __name__ == "__main__":
    sys.exit(script("train", "idm"))

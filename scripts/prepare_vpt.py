"""Turns VPT's recordings into token shards: the same as `worldmodel prepare vpt`.

python scripts/prepare_vpt.py --help
"""

import sys

from client.script import script

if __name__ == "__main__":
    sys.exit(script("prepare", "vpt"))

"""Scores a world model on recorded clips: the same as `worldmodel evaluate`.

python scripts/evaluate.py --help
"""

import sys

from client.script import script

if __name__ == "__main__":
    sys.exit(script("evaluate"))

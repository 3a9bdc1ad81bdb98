"""Records random play of minerl as clips: the same as `worldmodel record-game --world minerl`.

python scripts/record_minerl.py --help
"""

import sys

from client.script import script

if __name__ == "__main__":
    sys.exit(script("record-game", "--world", "minerl"))

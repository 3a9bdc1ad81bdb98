"""Records random play of vizdoom as clips: the same as `worldmodel record-game --world vizdoom`.

python scripts/record_vizdoom.py --help
"""

import sys

from client.script import script

if __name__ == "__main__":
    sys.exit(script("record-game", "--world", "vizdoom"))

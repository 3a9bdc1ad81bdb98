"""Records scripted play of the real game as clips: the same as `worldmodel record`.

python scripts/record_luanti.py --help
"""

import sys

from client.script import script

if __name__ == "__main__":
    sys.exit(script("record"))

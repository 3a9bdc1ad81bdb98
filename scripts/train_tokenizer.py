"""Trains an image tokenizer: the same as `worldmodel train tokenizer`.

python scripts/train_tokenizer.py --help
"""

import sys

from client.script import script

if __name__ == "__main__":
    sys.exit(script("train", "tokenizer"))

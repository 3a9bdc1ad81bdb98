"""Record scripted play of the real game (Luanti) as training clips in the VPT contractor format.

Leaves <id>.mp4 and <id>.jsonl for every clip and recording.json (settings, and the share of frames of every action).
Started again, it goes on where it stopped. Needs the Debian packages that `worldmodel doctor` names.
"""

from __future__ import annotations

from worldmodel.games.luanti.manifest import RecordingOptions as Arguments
from worldmodel.games.luanti.recorder import record


def main(args: Arguments) -> None:
    for clip in record(args):
        print(clip)

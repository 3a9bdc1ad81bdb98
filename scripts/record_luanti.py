"""Records scripted play of the real game (Luanti) as training clips in the VPT contractor format.

    python scripts/record_luanti.py --out clips [--clips 8] [--frames 3000] [--seed 3] [--preset mixed]
                                    [--workers 2] [--width 384] [--height 224] [--crf 23] [--style bold]
                                    [--steady 0.5] [--deliberate 0.2]

Leaves <id>.mp4 and <id>.jsonl for every clip and recording.json (settings, and the share of frames of every action).
Started again, it goes on where it stopped. Needs the Debian packages that `worldmodel doctor` names.
"""

from __future__ import annotations

from worldmodel.games.luanti.recorder import RecordingOptions, record


def main(options: RecordingOptions) -> None:
    for clip in record(options):
        print(clip)


if __name__ == "__main__":
    # Here, not above: the recording processes import this file, and have no use for torch.
    from worldmodel.training.common import main_with_errors

    main_with_errors(main, RecordingOptions)

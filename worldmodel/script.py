"""The front door of a script."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from worldmodel.failure import report_failure, run_to_end
from worldmodel.training.run.stopping import require_extra, say_stopped


def main_with_errors(main: Callable[[Any], object], arguments: type, extra: bool = False) -> None:
    """Runs a script: a user's mistake (WorldModelError, ValueError of an option) is one sentence, exit code 2; a signal
    ends it with 128 and its number. A planned stop is no failure: exit code 0. extra: see require_extra.
    """
    import tyro

    about = (sys.modules[main.__module__].__doc__ or "").partition("\n\n")[0]

    def command() -> int:
        if extra:
            require_extra()
        main(tyro.cli(arguments, description=about))
        return 0

    code = run_to_end(command, partial(report_failure, what="the script"), say_stopped)
    if code:
        sys.exit(code)

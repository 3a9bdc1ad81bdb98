"""A wheel with the native engine compiled in, for a platform like this one:

    WORLDMODEL_NATIVE=all pip wheel --no-deps .          # or names of paths: WORLDMODEL_NATIVE=avx2,portable

Without that, the wheel is for every platform, and the engine is compiled where it is used. A library runs where the
system's C and C++ libraries are as new as those it was compiled with.
"""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WANTED = "WORLDMODEL_NATIVE"


class CompiledIn(BuildHookInterface):
    """See above."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        wanted = os.environ.get(WANTED, "")
        if not wanted or version == "editable":
            return
        sys.path.insert(0, self.root)
        from kernels import native_build

        here = [name for name, path in native_build.PATHS.items() if path.machine in ("", platform.machine())]
        paths = here if wanted == "all" else wanted.split(",")
        if unknown := set(paths) - set(here):
            raise ValueError(f"{WANTED} knows {', '.join(here)} on this machine; not {', '.join(sorted(unknown))}")
        self.folder = tempfile.TemporaryDirectory()
        for name in paths:
            library = Path(self.folder.name) / f"{name}.so"
            native_build.compile_to(library, name)
            build_data["force_include"][str(library)] = f"kernels/{native_build.BROUGHT}/{library.name}"
        system = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data.update(pure_python=False, tag=f"py3-none-{system}")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

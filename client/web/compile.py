"""Compiles kernels/cpu, the frame decoder and the image decoder, to WebAssembly: page/native.wasm, which is kept beside
the page, since few who build a folder have a compiler for it.

Run by hand when its sources change: pip install ziglang==0.17.1; python -m client.web.compile
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from kernels.native_build import COMMON_FLAGS, SOURCES
from worldmodel.writing import written

TARGET = Path(__file__).parent / "page" / "native.wasm"
MOST_MEMORY, STACK = 2**30, 2**18  # bytes; see native.js
EXPORTS = (
    *(f"worldmodel_{name}" for name in ("decoder", "frame", "pictures", "picture", "help")),
    *("malloc", "free", "__stack_pointer"),
)
FLAGS = (
    *("-target", "wasm32-wasi-musl", "-mexec-model=reactor"),
    "-mcpu=generic+simd128+bulk_memory+nontrapping_fptoint+mutable_globals+atomics",
    *COMMON_FLAGS,
    *("-fno-exceptions", "-fno-rtti", "-DNDEBUG", "-s"),
    f"-Wl,-z,stack-size={STACK},--import-memory,--shared-memory,--max-memory={MOST_MEMORY}",
    *(f"-Wl,--export={name}" for name in EXPORTS),
)
SECTION = b"sources"  # a custom section, which WebAssembly's runtimes do not read


def digest() -> bytes:
    """Of what decides about the compiled bytes, but for the compiler."""
    made = hashlib.sha256(repr(FLAGS).encode())
    for source in sorted(SOURCES.iterdir()):
        made.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return made.hexdigest().encode()


def compiled() -> bytes:
    """The module. CalledProcessError, with the compiler's words on stderr, if it cannot be compiled."""
    command = [sys.executable, "-m", "ziglang", "c++", *FLAGS]
    with written(TARGET) as unfinished:
        subprocess.run([*command, "-o", str(unfinished), str(SOURCES / "wasm.cpp")], check=True)
        module = unfinished.read_bytes()
        content = bytes([len(SECTION)]) + SECTION + digest()
        unfinished.write_bytes(module + b"\0" + bytes([len(content)]) + content)
    return TARGET.read_bytes()


if __name__ == "__main__":
    print(f"{TARGET}: {len(compiled()):,} bytes")

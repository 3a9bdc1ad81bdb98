"""Compiles cpu/, the frame decoder and the image decoder, to WebAssembly: native.wasm, which is kept in the repository,
since few who have a page made have a compiler for it.

Run by hand when its sources change: pip install ziglang==0.17.1; python -m kernels.wasm_build
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from kernels.native_build import COMMON_FLAGS, SOURCES, sources_digest

TARGET = Path(__file__).with_name("native.wasm")
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
    return sources_digest(FLAGS).encode()


def build() -> None:
    """Writes TARGET. CalledProcessError, with the compiler's words on stderr, if it cannot be compiled."""
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder) / TARGET.name
        command = [sys.executable, "-m", "ziglang", "c++", *FLAGS]
        subprocess.run([*command, "-o", str(module), str(SOURCES / "wasm.cpp")], check=True)
        content = bytes([len(SECTION)]) + SECTION + digest()
        TARGET.write_bytes(module.read_bytes() + b"\0" + bytes([len(content)]) + content)


if __name__ == "__main__":
    build()
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")

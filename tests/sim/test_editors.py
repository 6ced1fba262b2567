"""What `Plexus` finds by name is known to editors and type checkers too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from plexus_mp import more


def _checked(tmp_path: Path, text: str) -> str:
    """What mypy says of a program."""
    program = tmp_path / "program.py"
    program.write_text(f'from plexus_mp import Plexus\n\npx = Plexus(source_id="a")\n{text}\n')
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--check-untyped-defs", str(program)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300).stdout


def test_each_call_is_known_with_its_arguments(tmp_path: Path) -> None:
    names = [*more._CALLS, "stats"]
    said = _checked(tmp_path, "\n".join(f"px.{name}.none_such" for name in names if name != "stats"))
    # A call that is not known could be anything, and so have any attribute.
    assert said.count('has no attribute "none_such"') == len(more._CALLS), said
    assert "nonsense" in _checked(tmp_path, "px.batch(nonsense=1)")
    assert (
        _checked(
            tmp_path, 'with px.run("fill", tags={"tank": "a"}):\n    px.send("level", 1)\nprint(px.stats)'
        )
        == ""
    )

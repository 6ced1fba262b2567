"""The part of a document that a tool writes, between two comments that stand in it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Part:
    document: Path
    begin: str
    end: str

    def text(self) -> str:
        """What stands there now. IndexError when a comment is missing."""
        return (
            self.document.read_text(encoding="utf-8").split(self.begin)[1].split(self.end)[0].strip() + "\n"
        )

    def write(self, text: str) -> None:
        before, rest = self.document.read_text(encoding="utf-8").split(self.begin)
        after = rest.split(self.end)[1]
        self.document.write_text(f"{before}{self.begin}\n{text}{self.end}{after}", encoding="utf-8")


def write_table(description: str, part: Part, measure: Callable[[], str]) -> bool:
    """The tool's command line: prints what `measure` gives and writes it, which `--print` forbids; whether it did."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--print", action="store_true", help=f"leave docs/{part.document.name} as it is")
    only_print = parser.parse_args().print
    measured = measure()
    print(measured)
    if not only_print:
        part.write(measured)
    return not only_print

"""Seven mistakes that such a library can have, each as a change of its text: chaos must find them."""

from __future__ import annotations

import shutil
from pathlib import Path

from host_sim.chaos import FIRMWARE
from host_sim.world import LIBRARY

# name: (file, what stands there, the mistake)
BUGS = {
    "released before it is stored": (
        "session.py",
        "            outbox.hand_over()",
        "            self._acked = self._seq\n            outbox.hand_over()",
    ),
    "one answer releases all that is under way": (
        "session.py",
        "            self._acked = seq\n\n",
        "            self._acked = self._seq\n\n",
    ),
    "settled one commit too far": (
        "ring.py",
        "            self._mark_settled(seq, off)\n",
        "            self._mark_settled(seq, self.next_off if self.read(seq, off) else off)\n",
    ),
    "names told once, not in each sector": (
        "points.py",
        "            series.defined = 0\n",
        "            series.defined = series.defined\n",
    ),
    "what a gateway dropped is taken for stored": (
        "link.py",
        "http.find(_SUCCESS) >= 0 and http.find(_DROPPED) < 0:\n",
        "http.find(_SUCCESS) >= 0:\n",
    ),
    "what was sent is dated anew": (
        "sync.py",
        "    if not clock.segments or (sent_ms < 0 and at_first <= clock._promise):\n",
        "    if True:\n",
    ),
    "dropped and not counted": (
        "ring.py",
        "            self.dropped += lost\n            self.tail_seq = seq + 1\n",
        "            self.tail_seq = seq + 1\n",
    ),
}


def buggy(name: str, folder: Path) -> Path:
    """Chaos's firmware with a library that has this mistake."""
    file, right, wrong = BUGS[name]
    firmware = folder / "firmware"
    shutil.copytree(FIRMWARE, firmware)
    shutil.copytree(LIBRARY, firmware / "lib" / "plexus_mp")
    path = firmware / "lib" / "plexus_mp" / file
    text = path.read_text()
    assert text.count(right) == 1, f"{file} has changed: {right!r} is there {text.count(right)} times"
    path.write_text(text.replace(right, wrong))
    return firmware

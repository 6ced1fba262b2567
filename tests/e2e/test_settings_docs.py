"""docs/settings.md against the tests and the library."""

import re

from plexus_mp import settings
from plexus_mp.ports import DEFAULTS

from host_sim.world import ROOT
from tests.device.test_errors import MAKING, TABLE

TEXT = (ROOT / "docs" / "settings.md").read_text()


def test_the_table_of_errors_is_what_is_tested():
    rows = re.findall(r"^\| ([^`|][^|]*) \| `(\w+)`(?:: ([^|]*))? \|$", TEXT, re.M)
    wanted = [(what, kind.__name__, text) for what, kind, text, _ in (*TABLE, *MAKING)]
    assert rows == wanted


def test_every_setting_is_there():
    told = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (`.*?) \|", TEXT, re.M))))
    source = "\n".join(
        (ROOT / "lib/plexus_mp" / f"{name}.py").read_text() for name in ("assemble", "settings", "wifi")
    )
    looked_up = set(re.findall(r'(?:\.get|integer)\("(\w+)"', source)) - {
        "ssid",
        "password",
        "asked",
        "name",
        "wifi_",
    }
    looked_up |= {*settings._PLAIN, *settings._NUMBERS}
    looked_up |= {"wifi_" + name for name in ("pm", "txpower")}
    assert looked_up <= told | {"session"} and set(DEFAULTS) <= told
    assert told <= looked_up | set(DEFAULTS) | {"api_key"}

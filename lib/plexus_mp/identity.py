"""When a gateway gives a board another name, or two boards have one. Loaded when that happens."""

import json

from .ports import forget
from .state import load, save


def adopt(link, outbox, recorder, session, name):
    """The gateway calls this board `name`: so do the readings from now on, and the next boots. False: it cannot.

    Readings that are in flash keep the name they were recorded under.
    """
    from .settings import check_source_id

    forget("settings")
    try:
        source = json.dumps(check_source_id(name)).encode()
    except (TypeError, ValueError) as e:
        link.last_error = "the gateway gave a name: %s" % e
        return False
    before = outbox.own_source
    if not recorder.apart(_rename, outbox, recorder, source):
        return False  # in the midst of a send(): the next welcome says it again
    session.rename(b'"source_id":' + before, b'"source_id":' + source)
    found = load()
    asked = found.get("asked") if found.get("name") == json.loads(before) else json.loads(before)
    found["asked"] = asked
    found["name"] = name
    save(found)
    print("plexus: the gateway calls this board", name)
    return True


def _rename(outbox, recorder, source):
    encoder = recorder._encoder
    if encoder._source_json:
        encoder._source_json = source
        encoder.forget()
    outbox.own_source = source
    return True


def kept_name(asked):
    """The name that a gateway gave to the board which asks for `asked`, else `asked`."""
    found = load()
    return found["name"] if found.get("asked") == asked and "name" in found else asked


def warn(link, source):
    """Connections end soon after they began, again and again: so do those of two boards with one name."""
    print("plexus: connections end at once: does another board send as %s?" % source.decode())
    link.last_error = "connections end at once: another board may have this source_id"

"""Arguments that plexus-python's `Plexus` has and this one has not. Loaded when one of them is given."""

# Without effect: the link has its own deadlines and pauses, and `ring_bytes` says how much may wait.
_IDLE = ("timeout", "retry_config", "max_buffer_size", "buffer_path")


def translate(peer, given):
    """Put what `peer` means into `given`, the settings. Raises `TypeError` for what neither has."""
    for name, value in peer.items():
        if name == "persistent_buffer":
            if not value and given["ring"] is None:
                given["ring"] = "ram"
        elif name == "ws_url":
            if given["gateway_url"] is None and value:
                given["gateway_url"] = "http" + value[2:] if value.startswith("ws") else value
        elif name not in _IDLE:
            raise TypeError("Plexus() knows no argument %r" % name)

"""What a program may catch. Network trouble is not among them: `send()` never raises for that."""


class PlexusError(Exception):
    """A value that the protocol cannot carry, or a flush that did not finish."""


class AuthenticationError(PlexusError):
    """The gateway refuses the API key; the readings are kept."""

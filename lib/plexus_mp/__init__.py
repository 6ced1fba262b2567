"""Telemetry for microcontrollers: `from plexus_mp import Plexus`."""

from .client import VERSION as __version__
from .client import Plexus
from .errors import AuthenticationError, PlexusError

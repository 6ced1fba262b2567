"""Many boards, one gateway: what it carries, and what becomes of each reading."""

from .run import Fleet, FleetOptions, FleetResult

__all__ = ["Fleet", "FleetOptions", "FleetResult"]

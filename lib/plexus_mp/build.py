"""When this library was built: no clock can be right that stands before it."""

# Year, month, day in UTC. tools/build_mpy.py puts the day of the build in its place.
DATE = (2026, 11, 21)

"""When this library was built: no clock can be right that stands before it."""

# Year, month, day in UTC; to be raised with each release.
DATE = (2026, 11, 21)

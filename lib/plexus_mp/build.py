"""When this library was made: no clock can be right that stands before it."""

# Year, month, day in UTC, to be raised with each release; and the same in Unix milliseconds.
DATE = (2026, 11, 21)
UNIX_MS = 1_795_219_200_000

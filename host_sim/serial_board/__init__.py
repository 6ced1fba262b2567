"""A board on a pseudo-terminal, for mpremote: `host_sim board`."""

"""A running board in the terminal, with a key for each fault: `host_sim run --view`."""

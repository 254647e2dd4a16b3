"""One trial from configuration to record: untrained export -> latency -> training -> export -> parity."""

"""Pure decisions: which model answers a request. No I/O, no clock, nothing of the gateway."""

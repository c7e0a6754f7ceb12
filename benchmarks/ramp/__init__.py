"""A load test: more and more users behind haproxy, then faults. `make load`."""

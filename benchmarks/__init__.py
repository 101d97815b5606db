"""Claims of speed and strength, each a command: ``python -m benchmarks NAME``."""

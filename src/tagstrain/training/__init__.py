"""Training of the networks, on the simulator, on files, or both."""

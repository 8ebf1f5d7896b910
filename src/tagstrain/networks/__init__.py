"""The networks, what they see, and their weights."""

"""How far a slice can be trusted: looks at everything, never changes a number."""

"""Tagged cines of beating hearts from physics, with exact truth: scenes are drawn, then rendered."""

"""Regional strain, twist and strain rates of simulated hearts, against their truth."""

"""How long one forward pass takes, measured so that the numbers can be compared."""

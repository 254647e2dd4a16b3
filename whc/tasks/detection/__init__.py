"""Detection: boxes around objects in pictures."""

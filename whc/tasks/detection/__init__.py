"""Detection: boxes of objects of some classes in a picture, scored by the average precision at an overlap of half."""

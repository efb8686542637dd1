"""Many to one: text, a series of vectors or an image to a label, several labels, or a number."""

"""Tagging: a label for each word of a sentence, and labels of the whole sentence."""

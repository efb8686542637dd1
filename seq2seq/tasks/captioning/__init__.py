"""Captioning: an image in, a sentence out."""

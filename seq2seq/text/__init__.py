"""Text: vocabularies, subwords, files."""

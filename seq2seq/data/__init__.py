"""From files of sentence pairs to batches: sources, then corpus, then batches."""

"""One folder a task; ``seq2seq.registry`` lists them. Tasks never import each other."""

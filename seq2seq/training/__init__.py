"""Training: the loop of every task and its parts."""

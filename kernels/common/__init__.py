"""What several operations share: dtypes, launches, checks, cells and the barrier on a GPU."""

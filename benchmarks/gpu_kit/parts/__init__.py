"""What the runs do, part by part: each module is one process of a run."""

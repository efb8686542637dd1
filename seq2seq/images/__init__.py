"""Image files as tensors, for the tasks that read images."""

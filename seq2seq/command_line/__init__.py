"""What the commands have in common: options, overrides of configuration keys, files."""

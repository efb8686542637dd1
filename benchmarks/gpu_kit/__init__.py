"""One prepared script for a GPU that is at hand for minutes only: README.md beside this file."""

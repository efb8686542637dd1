"""Saved models: the directory, the hub, the card, and the base class of every user class."""

"""Layers that tasks share: recurrent encoder, decoder with attention, dropout."""

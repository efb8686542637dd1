"""Text generation: a language model of characters, bytes, subwords or words."""

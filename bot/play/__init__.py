"""Played conversations and the terminal chat: the same acts that a person has in the web chat."""

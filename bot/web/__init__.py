"""The web: hooks in, pages and one-time links out."""

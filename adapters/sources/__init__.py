"""Alert sources: one file each, pure decode of what it posts."""

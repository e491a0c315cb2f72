"""What we do about it: each procedure a table."""

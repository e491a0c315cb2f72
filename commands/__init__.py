"""What people may ask: one file a command."""

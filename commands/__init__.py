"""What people may ask: one file a command; `contents.py` lists them."""

"""The web chat: a platform of our own, in this process. `pages.py` alone needs NiceGUI."""

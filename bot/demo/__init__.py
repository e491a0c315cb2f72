"""The world that a newcomer gets: a monitor, servers and people to play with."""

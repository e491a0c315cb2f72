"""The roof: configuration, wiring, inbox, sender, web, clock, command line."""

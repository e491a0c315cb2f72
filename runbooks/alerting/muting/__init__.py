"""What is not told, because a person set it: silences, maintenance, inhibition, times and ways."""

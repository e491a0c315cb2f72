"""What the lines do: one file for each thing that is touched."""

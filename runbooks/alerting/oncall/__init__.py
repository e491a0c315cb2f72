"""Who is called, when and how: rotations, the ladder, and the proof that nobody was missed."""

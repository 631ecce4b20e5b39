"""Tables of a run as frames of numbers, and the same as text."""

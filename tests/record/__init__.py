"""What holds for the record itself, whoever makes or shows it."""

"""Why one sample was chosen or not: its gain, what covers it, whom it serves, and if forced."""

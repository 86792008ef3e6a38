"""What networks are built of and none alone is: no family, no recipes."""

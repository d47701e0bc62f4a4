"""What each person should know of, in their own inbox."""

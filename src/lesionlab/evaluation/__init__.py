"""What trained methods are worth: a file per capability and subject, from scores to the section of the page."""

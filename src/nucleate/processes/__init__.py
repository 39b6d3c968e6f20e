"""Worker processes and interrupts."""

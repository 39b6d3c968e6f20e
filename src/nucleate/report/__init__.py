"""Reports of run folders and trainings: pages, figures and terminal output."""

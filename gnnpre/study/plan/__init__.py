"""From a declaration to jobs and the files that they need."""

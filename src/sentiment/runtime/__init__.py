"""The process: errors, files, environment, how programs start and end, ranks, run folders."""

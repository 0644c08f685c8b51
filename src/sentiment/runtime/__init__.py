"""The process: errors, files, the machine, how programs start and end, ranks, run folders."""

"""Real Ray clusters on this machine: processes and nodes that die in the middle, jobs that are stopped, too little room."""

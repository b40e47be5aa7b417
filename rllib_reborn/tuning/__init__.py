"""Many runs: sweeps as data, their runs as ordinary run folders, on Ray Tune."""

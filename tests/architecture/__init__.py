"""Guards of the package's structure and words; each is a pure function of a folder and has tests of its own."""

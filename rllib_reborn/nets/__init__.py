"""Networks, torch only: shapes are passed in, nothing here knows an environment or Ray."""

"""What is done with trained teams: evaluation, export as a portable policy, what an intervention keeps of their values."""

"""What is done with recordings: listed, shown, simulated again, compared, exported, imported."""

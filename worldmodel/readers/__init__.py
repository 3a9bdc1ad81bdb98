"""What reads actions from frames alone: our inverse dynamics model, and VPT's."""

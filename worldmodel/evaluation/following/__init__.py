"""Rollouts on recorded play: action following, drift, the hotbar, and the page that shows them."""

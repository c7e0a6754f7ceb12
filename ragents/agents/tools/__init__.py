"""Tools of agents."""

"""From any folder to a model in memory. Trusts nothing in it; knows no catalogue and no hub."""

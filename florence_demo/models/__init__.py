"""From a name to a model in memory: the catalogue, the hub, devices. Knows no answer."""

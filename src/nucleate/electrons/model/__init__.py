"""The model of the local density of states: network, training, and prediction over grids of any size."""

"""Python imports this at its start, wherever this folder is on its path."""

from closed_network import close_network

close_network()

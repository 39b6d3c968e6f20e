"""Local web application: watch, start and steer searches, and use trained potentials, in a browser on the same computer."""

"""Local web application: watch, start and steer searches, and use trained models, in a browser on the same computer."""

"""The ingress: HTTP in, commands accepted, problems out."""

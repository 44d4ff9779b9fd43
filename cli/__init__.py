"""The command line: cuttingroom up, demo, clip, jobs, plan, doctor."""

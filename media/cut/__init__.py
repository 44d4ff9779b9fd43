"""Carries out a cut plan packet by packet."""

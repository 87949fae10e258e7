"""Takeovers and handovers, measured on real processes."""

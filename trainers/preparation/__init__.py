"""Data sets as the arrays that several tasks train on."""

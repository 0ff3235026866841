"""The conversation, as pure machines: no clock, no dice, no wires."""

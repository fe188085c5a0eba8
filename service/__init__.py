"""The running system: Fankui behind HTTP."""

"""The vocabulary of command lines and saved runs, and objects built from it; imports no torch by itself."""

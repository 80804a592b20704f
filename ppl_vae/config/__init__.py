"""What a command line and a saved run may say, and how objects are built from it; imports no torch by itself."""

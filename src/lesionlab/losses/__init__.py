"""One function per published term; each cites its equation."""

"""Where a message goes next: one route a relay, its sessions, its pace, its health."""

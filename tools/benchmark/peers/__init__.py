"""What `streamload bench` runs in processes of its own: streamload itself, and what the machine allows; one file each."""

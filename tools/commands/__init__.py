"""The commands of `streamload`, one file each."""

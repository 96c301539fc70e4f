"""The one home of checkpoints: reading, recognising, finding by name, converting, downloading."""

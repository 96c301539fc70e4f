"""BasicSR's training and testing with the plugin: registration, patches, loaders, plugins of users, processes."""

"""HTTP: a bundle and the events of its users become ranked items for anybody who has a key."""

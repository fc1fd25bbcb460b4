"""Coresets: chosen real samples as a set, by how they lie among their class or what a trained network says of them."""

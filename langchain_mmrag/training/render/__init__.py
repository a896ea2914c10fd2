"""Pictures with captions, drawn from a seed: glyphs, shapes, charts and signs.

Everything here needs only Pillow and numpy, and the same `random.Random` gives the same picture.
"""

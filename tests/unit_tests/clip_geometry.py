"""Vectors that lie as those of CLIP models do, without a model."""

import numpy as np

from langchain_mmrag.ranking import unit

SIZE = 256


class Clip:
    """Vectors with the means, spreads and cosines measured on CLIP ViT-B-32: items with an image, two captions."""

    def __init__(self, items, seed=0):
        rng = np.random.default_rng(seed)
        basis = np.linalg.qr(rng.normal(size=(SIZE, SIZE)))[0]
        text_mean, image_mean = np.eye(SIZE)[0], np.zeros(SIZE)
        image_mean[:2] = 0.332, np.sqrt(1 - 0.332**2)

        def content(power, shift):
            drawn = np.zeros((items, SIZE))
            spectrum = np.roll(np.arange(1, SIZE - 1.0) ** -power, shift)
            drawn[:, 2:] = rng.normal(size=(items, SIZE - 2)) * spectrum
            return unit(drawn)

        shared, of_text, of_image = content(0.62, 0), content(0.55, 40), content(0.55, 80)

        def caption():
            said = np.sqrt(0.319) * shared + np.sqrt(0.231) * of_text + np.sqrt(0.45) * content(0.55, 40)
            return unit(0.71 * text_mean + np.sqrt(1 - 0.71**2) * unit(said)) @ basis

        shown = unit(np.sqrt(0.319) * shared + np.sqrt(0.681) * of_image)
        self.images = unit(0.748 * image_mean + np.sqrt(1 - 0.748**2) * shown) @ basis
        self.captions, self.questions = caption(), caption()

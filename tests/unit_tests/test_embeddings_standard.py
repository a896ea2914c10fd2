"""LangChain's own suites for embeddings, none of their tests overridden."""

import pytest
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from langchain_mmrag.embeddings import OpenCLIPEmbeddings


class _OnTheTinyModel:
    @pytest.fixture(autouse=True)
    def _use_tiny_model(self, tiny_clip_dir):
        type(self)._folder = tiny_clip_dir

    @property
    def embeddings_class(self):
        return OpenCLIPEmbeddings

    @property
    def embedding_model_params(self):
        return {"model_name": f"local-dir:{self._folder}", "device": "cpu"}


class TestOpenCLIPUnit(_OnTheTinyModel, EmbeddingsUnitTests):
    pass


class TestOpenCLIPIntegration(_OnTheTinyModel, EmbeddingsIntegrationTests):
    pass

"""Every error this package raises on purpose.

    MMRAGError
    ├── MissingDependencyError (ImportError)     an optional package is not installed
    ├── LoadError                                a source could not be read
    │   ├── SourceNotFoundError (FileNotFoundError)  no such file or address
    │   ├── UnsupportedFormatError (ValueError)  not a kind of file this package reads
    │   ├── UnsafeSourceError                    outside the roots, too large, a private address
    │   │   └── OutsideRootsError                a file in none of the media policy's root folders
    │   └── CorruptMediaError                    the right kind of file, but broken
    ├── EmbeddingError                           no vector could be made
    │   ├── UnsupportedModalityError (TypeError) the embedding takes no images
    │   └── ModelUnavailableError                weights are neither here nor reachable
    │       └── UnknownModelError (ValueError)   no model or checkpoint goes by this name
    ├── StoreError                               the collection refused
    │   └── EmbeddingMismatchError (ValueError)  made with another embedding
    ├── BudgetError (ValueError)                 a prompt's evidence cannot be made to fit
    └── DatasetError (ValueError)                what is to be measured on contradicts itself

A message says what happened, to which input, and what to do. Programmer mistakes stay plain
`ValueError` and `TypeError`.
"""


class MMRAGError(Exception):
    """Base of every error this package raises on purpose."""


class MissingDependencyError(MMRAGError, ImportError):
    """An optional dependency is not installed; the message is the line that installs it."""


class LoadError(MMRAGError):
    """A file, address or byte string could not be turned into a document or an image."""


class SourceNotFoundError(LoadError, FileNotFoundError):
    """There is no such file, or nothing at that address."""


class UnsupportedFormatError(LoadError, ValueError):
    """The source is not one of the formats this package reads."""


class UnsafeSourceError(LoadError):
    """Opening the source would break the media policy (root folders, size, addresses)."""


class OutsideRootsError(UnsafeSourceError):
    """The file lies in none of the media policy's root folders."""


class CorruptMediaError(LoadError):
    """The source has a known format but cannot be decoded."""


class EmbeddingError(MMRAGError):
    """No vector could be made of an input."""


class UnsupportedModalityError(EmbeddingError, TypeError):
    """The embedding does not take this kind of input."""


class ModelUnavailableError(EmbeddingError):
    """The model's weights are neither on this machine nor reachable."""


class UnknownModelError(ModelUnavailableError, ValueError):
    """No model or checkpoint goes by this name; the message lists what comes close."""


class StoreError(MMRAGError):
    """The collection refused an operation; it is left as it was."""


class EmbeddingMismatchError(StoreError, ValueError):
    """The collection was made with another embedding than the one it is opened with."""


class BudgetError(MMRAGError, ValueError):
    """Not even the labels of a prompt's evidence, and the picture of the question, keep to its budget."""


class DatasetError(MMRAGError, ValueError):
    """The questions, documents and answers of an evaluation do not fit together."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

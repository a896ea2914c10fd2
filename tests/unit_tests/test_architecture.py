"""The rules that keep the package easy to follow: imports point one way, and importing it is cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import langchain_mmrag

PACKAGE = Path(langchain_mmrag.__file__).parent
LAYERS = [
    {"errors", "types"},
    {"_cache", "_extras", "media", "_pdf", "_chat_models", "_tracing", "budget"},
    {
        "embeddings",
        "document_loaders",
        "quotes",
        "queries",
        "ranking",
        "keyword",
        "fusion",
        "_pieces",
        "text_splitters",
    },
    {
        "prompts",
        "_prompt",
        "citing",
        "citations",
        "_markers",
        "history",
        "zero_shot",
        "_record",
        "_store",
        "vectorstores",
    },
    {"reranking", "few_shot", "chat_models", "captioning"},
    {"retrievers"},
    {"_chain", "chains", "tools", "middleware"},
    {"mcp", "_mcp"},
    {"display", "indexing", "training", "evaluation"},
    {"demo", "cli", "_cli", "__main__"},
]
"""A module may import from its own layer and from those above it."""

HEAVY = {"torch", "torchvision", "open_clip", "transformers", "timm", "matplotlib", "resvg_py", "fontTools"}
ALL = set().union(*LAYERS)
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def top(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def layer(name: str) -> int:
    found = [number for number, names in enumerate(LAYERS) if name in names]
    assert found, f"{name} has no layer: add it to LAYERS"
    return found[0]


def imports(tree: ast.AST) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def test_every_module_has_a_layer():
    names = {top(path) for path in MODULES}
    assert names == ALL


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way_and_never_to_the_root(path):
    for line, name in imports(ast.parse(path.read_text(encoding="utf-8"))):
        if name.split(".")[0] != PACKAGE.name:
            continue
        target = [*name.split("."), ""][1]
        assert target in ALL, f"{path.name}:{line} imports from the package root"
        assert layer(target) <= layer(top(path)), f"{path.name}:{line} imports {target}, which lies below it"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_packages_are_imported_inside_functions(path):
    if path.relative_to(PACKAGE).as_posix() == "training/trainer.py":
        pytest.skip("nothing imports the trainer but who trains")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    eager = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {name.split(".")[0] for node in eager for _, name in imports(node)}
    assert not names & HEAVY


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, langchain_mmrag; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "langchain_mmrag" in loaded
    assert not loaded & {*HEAVY, "chromadb", "langchain_chroma", "langchain_core", "numpy", "PIL"}


def test_the_root_offers_exactly_what_it_lists():
    assert langchain_mmrag.__all__ == sorted(langchain_mmrag.__all__)
    assert len(langchain_mmrag.__all__) <= 16
    for name in langchain_mmrag.__all__:
        assert getattr(langchain_mmrag, name) is not None
    assert dir(langchain_mmrag) == sorted(langchain_mmrag.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = langchain_mmrag.Nothing


def test_no_module_prints_or_hides_errors():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", f"{path.name}:{node.lineno} prints"
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{path.name}:{node.lineno} catches everything"

"""`python -m langchain_mmrag` is the `mmrag` command."""

from langchain_mmrag.cli import main

if __name__ == "__main__":
    main()

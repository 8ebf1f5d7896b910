"""``python -m tagstrain``: the same as the command ``tagstrain``."""

from tagstrain.cli import main

if __name__ == "__main__":
    main()

"""``python -m easyremote`` is the command ``easynet``."""

from easyremote.cli.main import main

if __name__ == "__main__":
    main()

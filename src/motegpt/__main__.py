"""python -m motegpt"""

from motegpt.views.cli import main

if __name__ == "__main__":
    main()

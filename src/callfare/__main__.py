"""`python -m callfare` is the command line."""

from callfare.cli.app import main

if __name__ == "__main__":
    main()
